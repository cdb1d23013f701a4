"""Pretraining on COCO-Stuff, then training on VOC from its checkpoint with new class layers."""

import lightning.pytorch as pl
import pytest
import torch
from data.writers.coco_stuff import write_coco_stuff
from data.writers.voc import write_voc

from atrous.cli import train
from atrous.data.voc import CLASS_INFO as VOC

ONE_STEP = [
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "data.batch_size=2",
    "data.num_workers=0",
    "data.train_transform.crop_size=[32,32]",
]
MODELS = {
    "deeplabv3plus_small": ["model.encoder.name=test_resnet", "model.encoder.weights=null"],
    "msd": ["model.depth=3"],
}
HEAD = {"classifier.weight", "classifier.bias"}  # of both
STARTS = []


class NoteStart(pl.Callback):
    """Keeps the weights that a training starts from."""

    def on_fit_start(self, trainer, task):
        STARTS.append({key: value.clone() for key, value in task.model.state_dict().items()})


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request):
    return request.param


@pytest.fixture(scope="module")
def fit(tmp_path_factory, model):
    """Trains one step on one of the data sets and returns the run folder."""
    files = tmp_path_factory.mktemp("files")
    write_coco_stuff(files / "coco_stuff164k", splits={"train": 2, "val": 1})
    write_voc(files / "voc", train=1, val=1, test=0, more=1)

    def run(data, *overrides):
        runs = tmp_path_factory.mktemp(data)
        STARTS.clear()
        note = f"+callbacks.note_start._target_={NoteStart.__module__}.NoteStart"
        places = [f"paths.runs={runs}", f"paths.data={files}"]
        train.main([f"data={data}", f"model={model}", *ONE_STEP, *MODELS[model], *places, note, *overrides])
        (result,) = runs.rglob("result.json")
        return result.parent

    return run


@pytest.fixture(scope="module")
def pretrained(fit):
    """A checkpoint of COCO-Stuff, which its training has changed."""
    checkpoint = fit("coco_stuff") / "checkpoints" / "last.ckpt"
    (start,) = STARTS
    after = state_of(checkpoint)
    assert any(not torch.equal(after[key], start[key]) for key in start.keys() - HEAD)
    return checkpoint


def state_of(path):
    state = torch.load(path, weights_only=True)["state_dict"]
    return {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}


def test_all_but_the_class_layers_start_as_they_were(fit, pretrained):
    before = state_of(pretrained)
    run = fit("voc", f"weights={pretrained}", "reset_head=true", "seed=1")
    (start,) = STARTS
    assert start.keys() == before.keys()
    for key in start.keys() - HEAD:
        assert torch.equal(start[key], before[key]), key
    for key in HEAD:
        assert before[key].shape[0] == 171
        assert start[key].shape == (21, *before[key].shape[1:])
        assert not torch.equal(start[key], before[key][:21])

    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert tuple(checkpoint["class_info"]["names"]) == VOC.names
    trained = state_of(run / "checkpoints" / "last.ckpt")
    for keys in (HEAD, start.keys() - HEAD):
        assert any(not torch.equal(trained[key], start[key]) for key in keys)


def test_another_number_of_classes_is_refused_without_reset_head(fit, pretrained, capsys):
    with pytest.raises(SystemExit) as stop:
        fit("voc", f"weights={pretrained}")
    assert stop.value.code == 1
    assert STARTS == []
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert f"{pretrained} has 171 classes and the model 21" in error
    assert "reset_head=true" in error
