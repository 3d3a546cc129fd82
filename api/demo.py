"""`solon demo`: the main job on the built-in models, and the table that says what changed."""

from importlib.resources import as_file, files

from api.recipes import Recipe, load_recipe


def demo_recipe() -> Recipe:
    """The recipe of the demo, which ends within minutes on two cores."""
    with as_file(files("api").joinpath("demo.yaml")) as path:
        return load_recipe(path)
