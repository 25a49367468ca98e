"""`sagan mcp`: a server of the Model Context Protocol, through which agents use the service."""
