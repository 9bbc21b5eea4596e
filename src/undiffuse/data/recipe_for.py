"""Which recipe fits data of one's own: the one for images and the like, for tables and points, or for tokens."""

from collections.abc import Sequence

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.resolve import table
from undiffuse.data.source import Peek
from undiffuse.recipes.recipe import Recipe

IMAGES, TABLE, MIXED, TEXT, AUDIO, CLOUDS = "images", "table", "table-mixed", "text", "audio", "point-clouds"
VIDEOS = "videos"
TOKENS = "tokens"  # the codec of tokens that spell no text
SIDES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def recipe(path: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe for the data at this path, called after it; without the label as a condition where there is none.

    settings: `table.field=value` texts, which the recipe has taken in. Raises Refused for data that cannot be read.
    """
    described = table(path)
    asked = Recipe.find(IMAGES).with_tables(data=described).override([s for s in settings if s.startswith("data.")])
    seen = registry.build("data", asked["data"]).peek()
    if seen is None:
        raise Refused(f"{path} is no data in a file; name a recipe, and this data with --set data.name={path}")
    return fitting(path, asked["data"], seen).override(settings)


def fitting(path: str, data: dict[str, object], seen: Peek) -> Recipe:
    """The recipe for items that look so, from this [data] table."""
    base = Recipe.find(bundled(seen))
    tables = {**base.tables, "data": data}
    if seen.tokens and not seen.spelled:
        tables["codec"] = {"name": TOKENS}
    if not seen.labelled:
        tables = {name: fields for name, fields in tables.items() if name != "conditions"}
        tables["sampler"] = {key: value for key, value in base["sampler"].items() if key != "guidance"}
    name = "".join(
        c if c.isalnum() or c in "-_." else "-" for c in path.rstrip("/").rpartition("/")[2].partition(".")[0]
    )
    return Recipe.of(name.strip("-.") or "data", {"about": base.about, **tables})


def unlabelled(recipe: Recipe) -> Recipe:
    """The recipe without the condition on labels, where its data have none and training hides labels at times anyway.

    Raises Refused for data that cannot be read.
    """
    conditions = recipe["conditions"]
    if not conditions.get("label", {}).get("drop"):
        return recipe
    seen = recipe.component("data").peek()
    if seen is None or seen.labelled:
        return recipe
    tables = {"conditions": {name: fields for name, fields in conditions.items() if name != "label"}}
    if not any(fields.get("drop") for fields in tables["conditions"].values()):
        tables["sampler"] = {key: value for key, value in recipe["sampler"].items() if key != "guidance"}
    return recipe.with_tables(**tables)


def bundled(seen: Peek) -> str:
    """The name of the recipe for items that look so."""
    points = MIXED if seen.mixed else TABLE
    kinds = {TEXT: seen.tokens, AUDIO: seen.sound, CLOUDS: seen.cloud, VIDEOS: seen.video, points: len(seen.shape) == 1}
    return next((name for name, is_one in kinds.items() if is_one), IMAGES)


def misfit(chosen: Recipe, shape: tuple[int, ...]) -> str:
    """Why the recipe's network cannot take items of this shape, and what to type then; empty if it can."""
    levels = len(chosen["network"].get("multipliers", [1]))
    divisor = 2 ** (levels - 1)
    free = chosen["network"].get("video", False)  # any number of frames goes
    sides = list(zip(SIDES.get(len(shape) - 1, ()), shape[1:], strict=False))[bool(free) :]
    odd = [(name, side) for name, side in sides if side % divisor]
    if not odd:
        return ""
    name, side = odd[0]
    if len(shape) == 3 or free:
        near = [max(divisor, round(side / divisor) * divisor) for side in shape[-2:]]
        advice = f"data.size={near[0]}" if near[0] == near[1] else f"data.size=[{near[0]},{near[1]}]"
    else:
        fewer = next(n for n in range(levels, 0, -1) if all(side % 2 ** (n - 1) == 0 for side in shape[1:]))
        advice = f"network.multipliers={[1, 2, 2][:fewer]} network.attention=[{fewer - 1}]".replace(", ", ",")
    return f"a {name} of {side}: the recipe's U-Net takes what {divisor} divides; --set {advice}"
