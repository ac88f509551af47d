"""What a notebook shows."""

import facecore as fc
import numpy as np


def is_png(content):
    return content.startswith(b"\x89PNG")


def test_faces_and_answers_show_themselves(pipeline, photos):
    faces = pipeline.analyze(photos["obama"])
    assert is_png(faces._repr_png_()) and is_png(faces[0]._repr_png_())
    picture = faces[0].picture()
    assert picture.width > faces[0].box[2] and picture.height >= faces[0].box[3] and picture.width < faces.size[0]
    answer = fc.verify(photos["obama"], photos["biden"], pipeline=pipeline)
    shown = answer._repr_html_()
    assert shown.count("data:image/png") == 2 and "different people" in shown and "0.001" in shown
    assert "data:image" not in fc.verify(faces[0].embedding, faces[0].embedding)._repr_html_()
    with fc.Gallery(pipeline=pipeline) as gallery:
        gallery.enroll("<b>Ada</b>", photos["obama"])
        found = gallery.identify(photos["obama2"])
        assert "&lt;b&gt;Ada" in found._repr_html_() and "data:image/png" in found._repr_html_()
        assert "&lt;b&gt;Ada" in found[0]._repr_html_() and "<b>Ada</b>" not in gallery._repr_html_().replace(
            "&lt;", ""
        )
        assert (found.draw().to_array() != fc.load(photos["obama2"]).to_array()).any()
        assert "nobody" in gallery.identify(photos["biden"])._repr_html_()


def test_a_face_at_the_edge_is_cut_out(pipeline, photos):
    pixels = fc.load(photos["obama"]).to_array()
    x, y, width, height = (int(value) for value in pipeline.analyze(pixels)[0].box)
    tight = np.ascontiguousarray(pixels[y + 10 : y + height, x : x + width])
    for face in pipeline.analyze(tight):
        assert is_png(face._repr_png_())
