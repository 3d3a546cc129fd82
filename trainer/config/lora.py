"""Low-rank adapters: their configuration, shared by all methods that train a policy."""

from trainer.config.child import Count, Positive, Strict


class LoRA(Strict):
    """Low-rank adapters instead of all weights (arXiv:2106.09685); the reference is the policy without them."""

    rank: Count = 16
    alpha: Positive = 32.0
    """The adapters' output is scaled by alpha / rank."""
    merge: bool = True
    """Publish merged weights; false publishes the adapter alone, which is merged wherever it is loaded."""
