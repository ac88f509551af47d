"""Examples and notebooks run, and type checkers accept them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, imported

EXAMPLES = ROOT / "examples" / "python"
NOTEBOOKS = ROOT / "examples" / "notebooks"


def example(name, *arguments):
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def people(data, tmp_path_factory):
    """A folder with a folder for each of ten people, four photos in each."""
    folder = tmp_path_factory.mktemp("people")
    known = (person for person in sorted((data / "lfw" / "images").iterdir()) if len(list(person.iterdir())) >= 4)
    for person, _ in zip(known, range(10)):
        for photo in sorted(person.iterdir())[:4]:
            (folder / person.name).mkdir(exist_ok=True)
            shutil.copy(photo, folder / person.name)
    return folder


def test_verifying_two_photos(photos):
    same = example("verify_two_photos.py", photos["obama"], photos["obama2"])
    assert (same.returncode, same.stderr) == (0, "") and same.stdout.startswith("the same person: similarity 0.9")
    assert example("verify_two_photos.py", photos["obama"], photos["biden"]).returncode == 1
    missing = example("verify_two_photos.py", photos["obama"], "missing.jpg")
    assert missing.returncode == 2 and "missing.jpg" in missing.stderr and "Traceback" not in missing.stderr
    assert example("verify_two_photos.py").returncode == 1


def test_identifying_a_folder(people, photos):
    someone = min(people.iterdir())
    done = example("identify_folder.py", people, someone / f"{someone.name}_0001.jpg", photos["biden"])
    lines = done.stdout.splitlines()
    assert "10 subjects, 40 templates" in lines[0], done.stderr
    assert lines[1].endswith(f": {someone.name}") and lines[-1].endswith(": nobody")


@pytest.mark.parametrize("name", ["from_photo_to_verdict", "a_gallery_of_your_photos", "choosing_a_threshold"])
def test_notebooks(name, people, tmp_path, monkeypatch):
    imported("nbclient")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("FACE_PEOPLE", str(people))
    monkeypatch.delenv("FACE_PHOTOS", raising=False)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "photos are not committed: clear the outputs"
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    if "FACE_NOTEBOOKS_OUT" in os.environ:
        nbformat.write(notebook, Path(os.environ["FACE_NOTEBOOKS_OUT"]) / f"{name}.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [
        output
        for output in outputs
        if "image/png" in output.get("data", {}) or "data:image/png" in str(output.get("data", {}).get("text/html"))
    ]
    assert len(pictures) >= 3


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_accept_the_examples_and_the_package(checker, tmp_path):
    imported(checker)
    import facecore

    (tmp_path / "stated.py").write_text(
        "import facecore as fc\n"
        "import numpy as np\n"
        "import numpy.typing as npt\n"
        "face: fc.Face = fc.Pipeline().analyze('a.jpg')[0]\n"
        "number: float = fc.similarity(face.embedding, face.embedding)\n"
        "table: npt.NDArray[np.float32] = fc.similarity([face.embedding], [face.embedding])\n"
        "names: list[str | None] = fc.Gallery().identify('a.jpg').names\n"
        "one: fc.Identification = fc.Gallery().identify(face)\n"
        "threshold: fc.Threshold = face.embedding.space.threshold_at(1e-3)\n"
        "for result in fc.Pipeline().stream(['a.jpg']):\n"
        "    if isinstance(result, fc.Failure):\n"
        "        print(result.error.args)\n"
        "    else:\n"
        "        print(result.faces, result.error is None)\n"
    )
    command = [sys.executable, "-m", checker]
    command += ["--strict"] if checker == "mypy" else ["--pythonpath", sys.executable]
    stated = subprocess.run(
        [*command, tmp_path / "stated.py", *EXAMPLES.iterdir()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert stated.returncode == 0, stated.stdout + stated.stderr
    lines = ["fc.Pipeline(threads='two')", "fc.Pipeline(max_sied=3)", "fc.Pipeline().analyze(3)", "fc.verify(None, 3)"]
    lines += ["fc.Gallery().enroll('a', 3)", "fc.Pipeline().analyze('a.jpg').nothing"]
    (tmp_path / "wrong.py").write_text("import facecore as fc\n" + "\n".join(lines) + "\n")
    wrong = subprocess.run([*command, tmp_path / "wrong.py"], capture_output=True, text=True, check=False, cwd=tmp_path)
    found = {int(number) for number in re.findall(r"wrong\.py:(\d+):", wrong.stdout)}
    assert wrong.returncode == 1 and found == set(range(2, 2 + len(lines))), wrong.stdout
    if checker == "mypy":
        package = Path(facecore.__file__).parent
        configuration = ["--config-file", ROOT / "face-py" / "pyproject.toml"]
        own = subprocess.run(
            [*command, *configuration, "-p", "facecore"], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert own.returncode == 0 and package.is_dir(), own.stdout + own.stderr
