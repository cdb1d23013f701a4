"""What the settings of a training may be: one row each, checked before anything heavy is imported."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from atrous.config.values import Accelerator, Help, NonNegativeInt, NotEmpty, PositiveInt, Range, Split, Text

STRIDE = Annotated[PositiveInt, Help("a power of two such as 8, 16 or 32")]
_RATES = Annotated[list[PositiveInt], Help("whole numbers from 1 on, such as 'model.dilations=[6,12,18]'"), NotEmpty()]
_RATE = Annotated[float, Range(0)]
_WIDTH = Annotated[float, Range(0.1)]
_FRACTION = Annotated[float, Help("a share from 0 to below 1, such as 0.2"), Range(0, 1)]
_COLOUR = Annotated[tuple[float, float, float], Help("three numbers, for red, green and blue")]
_SHARE = Annotated[float, Range(1e-9, 1)]
_SEED = Annotated[int, Range(0, 2**32 - 1)]
_DROPOUT = Annotated[float, Range(0, 0.999), Help("a probability from 0 to below 1, such as 0.5")]
_BATCHES = Annotated[NonNegativeInt | _SHARE, Help("a whole number of batches such as 4, or a share of them up to 1.0")]
POSSIBLE: dict[str, Any] = {
    "seed": _SEED,
    "eval_split": Split,
    "reset_head": bool,
    "weights": Text | None,
    "ckpt_path": Text | None,
    "name": Annotated[Text | int, Help("a folder's name")],
    "study": Annotated[Text | int, Help("a folder's name")],
    "paths.runs": Text,
    "paths.data": Text,
    "paths.cache": Text,
    "data.batch_size": PositiveInt,
    "data.eval_batch_size": PositiveInt,
    "data.num_workers": NonNegativeInt | None,
    "data.seed": _SEED,
    "data.rare_class_min_pixels": NonNegativeInt,
    "data.val_fraction": _FRACTION,
    "data.test_fraction": _FRACTION,
    "data.split_seed": int,
    "data.folds": PositiveInt | None,
    "data.fold": NonNegativeInt | None,
    "data.group": str | None,
    "data.stratify": str | None,
    "data.mask_suffix": str,
    "data.image_name": str,
    "data.mask_name": str,
    "data.mask_threshold": float | None,
    "data.nearest_value": bool,
    "data.unannotated": int | None,
    "data.ignore_index": int,
    "optimizer.lr": Annotated[_RATE, Help("a number from 0 on, such as optimizer.lr=0.01")],
    "optimizer.weight_decay": _RATE,
    "optimizer.head_multiplier": _RATE,
    "optimizer.layer_decay": _RATE,
    "loss.normalise": Literal["weights", "pixels"],
    "optimizer.momentum": _RATE,
    "inference.mean": _COLOUR,
    "inference.std": _COLOUR,
    "inference.crf.iterations": PositiveInt,
    "inference.crf.neighbours": Literal[4, 8],
    "inference.crf.cycles": PositiveInt,
    "inference.crf.smoothness": _RATE,
    "inference.crf.superpixels": PositiveInt,
    "inference.crf.compactness": _WIDTH,
    "trainer.accumulate_grad_batches": PositiveInt,
    "trainer.check_val_every_n_epoch": PositiveInt | None,
    "trainer.gradient_clip_val": _RATE | None,
    "trainer.log_every_n_steps": PositiveInt,
    "trainer.limit_train_batches": _BATCHES,
    "trainer.limit_val_batches": _BATCHES,
    "trainer.num_nodes": PositiveInt,
    "trainer.accelerator": Accelerator,
    "trainer.max_epochs": Annotated[
        PositiveInt | Literal[-1] | None, Help("a number of epochs from 1 on, such as trainer.max_epochs=10")
    ],
    "trainer.gradient_clip_algorithm": Literal["norm", "value"] | None,
    "trainer.max_steps": Annotated[
        Literal[-1] | PositiveInt, Help("a number of updates such as 40000, or -1 to go by max_epochs")
    ],
    "trainer.val_check_interval": Annotated[
        PositiveInt | _SHARE, Help("a whole number of updates such as 4000, or a share of an epoch up to 1.0")
    ],
    "trainer.precision": Literal["32-true", "bf16-mixed", "16-mixed"],
    "resume": Annotated[
        Literal["auto", False],
        Help(
            "auto, to go on with the newest run of the same settings, or false; a checkpoint to start from is given by ckpt_path=FILE"
        ),
    ],
    "extra_metrics": bool,
}
# What a part of ours in `model` may be told, by the name of the setting.
LAYERS: dict[str, Any] = {
    "join_kernel": Literal[1, 3],
    "num_classes": PositiveInt,
    "name": Annotated[Text, Help("the name of a network of timm's, such as resnet50")],
    "dropout": _DROPOUT,
    "drop_path": _DROPOUT,
    "dilation": PositiveInt | None,
    "dilations": _RATES | None,
    "multi_grid": Annotated[list[PositiveInt], NotEmpty()] | None,
    "pool_sizes": Annotated[list[PositiveInt], NotEmpty()],
    "kernel_size": PositiveInt,
    "kernel_sizes": Annotated[list[PositiveInt], NotEmpty()],
    "scales": Annotated[list[_WIDTH], NotEmpty()],
    "depth": PositiveInt,
    "width": PositiveInt,
    "cell": PositiveInt,
    "chunk": PositiveInt,
    "patch_size": PositiveInt,
    "image_size": PositiveInt | None,
    **dict.fromkeys(
        (
            "channels",
            "decoder_channels",
            "aspp_channels",
            "low_level_channels",
            "fc_channels",
            "hidden_channels",
            "stack_channels",
        ),
        PositiveInt | Annotated[list[PositiveInt], NotEmpty()] | None,
    ),
}
# What a method in place of a network may be told.
METHOD: dict[str, Any] = {
    "seed": _SEED,
    "eval_split": Split,
    "data.eval_batch_size": PositiveInt,
    "data.num_workers": NonNegativeInt | None,
    "method.side": PositiveInt | None,
    "method.clusters": PositiveInt,
    "method.segments": PositiveInt,
    "method.init": Literal["kmeans++", "random"],
    "method.restarts": PositiveInt,
    "method.iterations": PositiveInt,
    "method.train_images": NonNegativeInt,
    "method.compactness": _RATE,
    "method.seed": _SEED,
    "method.features.stride": PositiveInt,
    "method.sigma": _RATE,
    "method.gradient_sigma": _WIDTH,
    "method.scale": _WIDTH,
    "method.min_size": NonNegativeInt,
    "method.kernel_size": Annotated[float, Range(1)],
    "method.max_dist": _WIDTH,
    "method.ratio": Annotated[float, Range(0, 1)],
    "method.superpixels": NonNegativeInt,
    "method.radius": Annotated[float, Range(1)] | None,
    "method.gamma": _RATE,
    "method.squared": bool,
    "method.laplacian": Literal["unnormalised", "symmetric", "random_walk"],
    "method.max_cut": Annotated[float, Range(0, 2)],
    "method.spatial_bandwidth": Annotated[float, Range(1)],
    "method.range_bandwidth": _WIDTH,
    "method.scribbles": PositiveInt,
    "method.scribble_radius": NonNegativeInt,
    "method.colour_weight": _RATE,
    "method.smoothness": _RATE,
    "method.neighbours": Literal[4, 8],
    "method.fixed": bool,
    "method.rounds": PositiveInt,
    "method.cycles": PositiveInt,
    "matching.by": Literal["majority", "hungarian", "seeds"],
    "matching.over": Literal["image", "data"],
    "trainer.accelerator": Literal["cpu"],
    "trainer.devices": Literal[1],
    "trainer.num_nodes": Literal[1],
    "resume": POSSIBLE["resume"],
    "extra_metrics": Annotated[Literal[False], Help("false: a method's segments are scored by their outlines anyway")],
}
