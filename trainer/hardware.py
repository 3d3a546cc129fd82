"""Where and in which precision to compute, read off the machine."""

import torch

from trainer.config.child import Precision


def device() -> torch.device:
    """The first CUDA device, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def takes_bfloat16(precision: Precision = "auto") -> bool:
    """Whether to compute in bfloat16; `auto`: where the device multiplies such matrices natively.

    A CPU without AVX512-BF16 or AMX emulates them some 40 times slower than float32, so this decides, not a default.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
