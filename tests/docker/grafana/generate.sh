#!/usr/bin/env bash
# Writes schema.json beside it: the types of the Grafana that docker-compose.yml names, as a JSON Schema. Needs npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/.*image: grafana\/grafana://p' "$here/../../../docker-compose.yml")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$here/shape.ts" "$folder"
cd "$folder"
echo '{"compilerOptions": {"module": "nodenext", "strict": true, "skipLibCheck": true}, "files": ["shape.ts"]}' >tsconfig.json
npm install --silent --no-save "@grafana/schema@$version" ts-json-schema-generator@2.3.0 typescript@5.9.3
npx tsc --noEmit --project tsconfig.json
npx ts-json-schema-generator --path shape.ts --tsconfig tsconfig.json --type Shape --jsDoc none --no-type-check \
  --expose none --minify --out schema.json
sed "s/^{/{\"\$comment\":\"@grafana\/schema $version (Apache-2.0)\",/" schema.json >"$here/schema.json"
