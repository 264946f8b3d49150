"""Presets: those of the package, and a Python file of one's own, whose mistakes are one line with their place."""

import pytest

from cinesax.core.errors import CinesaxError, InputError, UsageError
from cinesax.train.fit.config import Precision, TrainConfig
from cinesax.train.nets import UNetConfig
from cinesax.train.nets.losses import DiceOver
from cinesax.train.presets import NAMES, load

HEAD = """from cinesax.train.data.pipeline import PipelineConfig
from cinesax.train.fit.config import TrainConfig
from cinesax.train.nets import UNetConfig
def config():
    return """


@pytest.mark.parametrize("name", NAMES)
def test_the_presets_of_the_package_are_settings(name):
    assert isinstance(load(name), TrainConfig)


def test_plain_values_become_those_of_their_types(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        HEAD + "TrainConfig(model=UNetConfig(channels=[4, 4]), precision='float32', xla=False, dice_over='slice',"
        " false_positives=[1, 0])"
    )
    config = load(str(path))
    assert config.model == UNetConfig(channels=(4, 4)) and config.false_positives == (1.0, 0.0)
    assert config.precision is Precision.FLOAT32 and config.dice_over is DiceOver.SLICE


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("x = 1", InputError, "own.py has no function config"),
        ("from pathlib import Path\nconfig = Path('.')", InputError, "own.py has no function config"),
        ("def config(:", InputError, "own.py, line 1: SyntaxError: invalid syntax"),
        ("def config():\n    return 5", InputError, r"config\(\) must return a TrainConfig, seen int"),
        ("import sys\nsys.exit(3)", InputError, "own.py, line 2: SystemExit: 3"),
        ("def config():\n    return 1 / 0", InputError, "own.py, line 2: ZeroDivisionError: division by zero"),
        ("def config(a):\n    pass", InputError, "own.py: TypeError: config.. missing 1 required"),
        (HEAD + "TrainConfig(epoch=2)", InputError, "own.py, line 5: TypeError: .*unexpected keyword argument 'epoch'"),
        (HEAD + "TrainConfig(epochs='many')", UsageError, "own.py, line 5: epochs must be a number, seen 'many'"),
        (HEAD + "TrainConfig(epochs=2.5)", InputError, r"own.py: .*Expected `int`, got `float` - at `\$.epochs`"),
        (HEAD + "TrainConfig(epochs=0)", UsageError, "own.py, line 5: epochs must be at least 1, seen 0"),
        (HEAD + "TrainConfig(precision='float16')", InputError, r"own.py: .*Invalid enum value 'float16'"),
        (
            HEAD + "TrainConfig(model='unet')",
            UsageError,
            "own.py, line 5: model must be the config of a network, seen str",
        ),
        (
            HEAD + "TrainConfig(pipeline=None)",
            UsageError,
            "own.py, line 5: pipeline must be a PipelineConfig, seen NoneType",
        ),
        (
            HEAD + "TrainConfig(pipeline=PipelineConfig(kind_shares={'chla': 0.2}))",
            UsageError,
            r"own.py, line 5: kind_shares must hold pairs such as \('chla', 0.2\)",
        ),
    ],
)
def test_a_mistake_in_ones_own_file_is_one_line_with_its_place(tmp_path, text, kind, message):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(CinesaxError, match=message) as caught:
        load(str(path))
    assert type(caught.value) is kind and "\n" not in str(caught.value)
