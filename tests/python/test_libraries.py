"""With the libraries that people use beside it."""

import facecore as fc
import numpy as np
from conftest import imported


def test_a_classifier_of_scikit_learn_on_embeddings(pipeline, data):
    imported("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    folders = sorted(folder for folder in (data / "lfw" / "images").iterdir() if len(list(folder.iterdir())) >= 8)[:4]
    photos = [(photo, number) for number, folder in enumerate(folders) for photo in sorted(folder.iterdir())[:8]]
    results = pipeline.analyze_batch([photo for photo, _ in photos], progress=False)
    faces = [
        (result.largest.embedding, number)
        for result, (_, number) in zip(results, photos)
        if result.ok and result.largest
    ]
    embeddings, people = np.stack([face for face, _ in faces]), np.array([number for _, number in faces])
    assert len(faces) >= 30
    classifier = LogisticRegression(C=100.0, max_iter=1000)
    assert cross_val_score(classifier, embeddings, people, cv=4).mean() > 0.9
    matrix = fc.stack([face for face, _ in faces])
    assert classifier.fit(matrix, people).score(matrix, people) == 1.0


def test_results_as_a_table_of_pandas(pipeline, photos):
    pandas = imported("pandas")
    results = pipeline.analyze_batch(list(photos.values()), progress=False)
    table = pandas.DataFrame([record for result in results for record in result.to_records()])
    assert len(table) == sum(len(result) for result in results) and table["score"].dtype == np.float64
    assert set(table["source"]) == {str(path) for path in photos.values()}
    again = fc.stack(np.stack(table["embedding"].to_list()), pipeline.space)
    assert (again[0] == results[0][0].embedding).all()


def test_bars(pipeline, photos, capsys):
    imported("tqdm")
    results = pipeline.analyze_batch([photos["obama"]] * 3, progress=True)
    assert len(results) == 3 and "3/3" in capsys.readouterr().err
    pipeline.analyze_batch([photos["obama"]], progress=False)
    assert capsys.readouterr().err == ""
