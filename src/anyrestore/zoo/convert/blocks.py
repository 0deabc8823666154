"""Public names of the blocks that several repositories have taken over from Restormer and from NAFNet."""

from __future__ import annotations

from anyrestore.zoo.convert.keys import Rules


def transformer_rules(pattern: str, ours: str) -> Rules:
    """Rules for Restormer blocks: ``pattern`` (may have groups) names the block, ``ours`` our block."""
    return [
        (rf"{pattern}\.{public}", f"{ours}.{name}")
        for public, name in (
            (r"norm1\.body\.weight", "norm_attention.weight"),
            (r"norm1\.body\.bias", "norm_attention.bias"),
            (r"attn\.temperature", "attention.temperature"),
            (r"attn\.qkv\.weight", "attention.to_qkv.weight"),
            (r"attn\.qkv_dwconv\.weight", "attention.depthwise.weight"),
            (r"attn\.project_out\.weight", "attention.to_out.weight"),
            (r"norm2\.body\.weight", "norm_feedforward.weight"),
            (r"norm2\.body\.bias", "norm_feedforward.bias"),
            (r"ffn\.project_in\.weight", "feedforward.to_branches.weight"),
            (r"ffn\.dwconv\.weight", "feedforward.depthwise.weight"),
            (r"ffn\.project_out\.weight", "feedforward.to_out.weight"),
        )
    ]


def naf_rules(pattern: str, ours: str) -> Rules:
    """Rules for NAF blocks."""
    names = (
        ("norm1", "norm_mixing"),
        ("conv1", "to_mixing"),
        ("conv2", "depthwise"),
        (r"sca\.1", "attention.conv"),
        ("conv3", "from_mixing"),
        ("norm2", "norm_feedforward"),
        ("conv4", "to_feedforward"),
        ("conv5", "from_feedforward"),
    )
    return [
        *(
            (rf"{pattern}\.{public}\.(?P<kind>weight|bias)", rf"{ours}.{name}.\g<kind>")
            for public, name in names
        ),
        (rf"{pattern}\.beta", f"{ours}.scale_mixing"),
        (rf"{pattern}\.gamma", f"{ours}.scale_feedforward"),
    ]
