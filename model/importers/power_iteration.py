"""The power iteration that some implementations run at every forward pass, also in eval mode."""

from torch.nn import functional as F

from model.importers.naming import ImportRefusedError, Part, Parts


def iterate_once(parts: Parts) -> Parts:
    """Sets v = norm(Wᵀu) and then u = norm(Wv) in each layer that has a u and no v."""
    done = dict(parts)
    for name, u in parts.items():
        layer, _, tensor = name.rpartition(".")
        weight = parts.get(f"{layer}.weight")
        if tensor != "u" or weight is None or f"{layer}.v" in parts:
            continue
        matrix = weight.map(lambda t: t.flatten(1)).tensor
        if u.tensor.numel() != len(matrix):
            shapes = tuple(weight.tensor.shape), tuple(u.tensor.shape)
            raise ImportRefusedError(
                f"{weight.key} and {u.key} of shapes {shapes[0]} and {shapes[1]} do not fit"
            )
        v = F.normalize(u.tensor.flatten() @ matrix, dim=0)
        done[f"{layer}.v"] = Part(u.key, v)
        done[name] = Part(u.key, F.normalize(matrix @ v, dim=0))
    return done
