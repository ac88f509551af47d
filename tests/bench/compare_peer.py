"""The peers in tests/bench/compare: does what each line of its input asks for, and answers with a line of JSON.

The same lines as for examples/rust/bench_worker.rs, with `"peer"`: "onnxruntime" is the pipeline of face-core written with
onnxruntime and OpenCV, "face_recognition" is that package (HOG and dlib's ResNet). The number of threads is the argument.
"""

import json
import statistics
import sys
import time
from functools import cache

import cv2
import numpy as np
from PIL import Image

THREADS = int(sys.argv[1])
FILES = json.loads(sys.argv[2])

# The settings of face-core's default pipeline.
MAX_SIDE, SMALL_SIDE, MIN_SHRINK = 1024, 320, 0.75
SCORE, NMS = 0.5, 0.3
CLOSE_UP_SHARE, FRAGMENT_INSIDE, FRAGMENT_SIDE, FRAGMENT_SCORE = 0.4, 0.6, 0.25, 1.35
SIDE, ZOOM = 150, 0.98
TEMPLATE = np.array([(47.6, 47.3), (102.4, 46.2), (74.5, 78.8), (51.0, 104.1), (97.3, 103.0)])
MEAN, STD = np.array([122.782, 117.001, 104.298], np.float32), 256.0


@cache
def session(path):
    """A network in onnxruntime; sides of a training batch that it declares are taken off."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    weights = {weight.name for weight in model.graph.initializer}
    # Weights that are inputs, too, would not be folded into one another.
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in [*model.graph.input, *model.graph.output]:
        for index, side in enumerate(value.type.tensor_type.shape.dim):
            if index != 1:
                side.dim_param = f"{value.name}_{index}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(path, values):
    network = session(path)
    return network.run(None, {network.get_inputs()[0].name: values})


def iou(box, others):
    """Of one box with many; x, y, width, height."""
    inter = overlap(box, others)
    return inter / (box[2] * box[3] + others[:, 2] * others[:, 3] - inter)


def overlap(box, others):
    ends = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    return np.prod(np.maximum(ends - np.maximum(box[:2], others[:, :2]), 0), axis=1)


def look(image):
    """CenterFace on a picture of its size: scores, boxes, landmarks."""
    height, width = image.shape[:2]
    padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
    padded[:height, :width] = image
    heat, scale, offset, points = run(FILES["centerface"], np.ascontiguousarray(padded.transpose(2, 0, 1)[None]))
    rows, columns = np.where(heat[0, 0] >= SCORE)
    sizes = 4 * np.exp(scale[0, :, rows, columns])
    h, w = sizes[:, 0], sizes[:, 1]
    shift = offset[0, :, rows, columns]
    y = 4 * (rows + shift[:, 0] + 0.5) - h / 2
    x = 4 * (columns + shift[:, 1] + 0.5) - w / 2
    places = points[0, :, rows, columns].reshape(-1, 5, 2)[:, :, ::-1]
    places = places * np.stack([w, h], 1)[:, None] + np.stack([x, y], 1)[:, None]
    return heat[0, 0, rows, columns], np.stack([x, y, w, h], 1), places


def detect(image):
    height, width = image.shape[:2]
    long = max(height, width)
    sides = [min(MAX_SIDE, long)]
    if SMALL_SIDE < MIN_SHRINK * sides[0]:
        sides.append(SMALL_SIDE)
    found, picture = None, image
    for side in sides:
        size = (
            tuple(max(round(length * side / long), 1) for length in (width, height)) if side < long else (width, height)
        )
        if size != (width, height):
            # The filter of face-core: a triangle over all pixels that it shrinks.
            picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        scores, boxes, points = look(picture)
        ratio = np.array([width / size[0], height / size[1]])
        boxes = np.hstack([(boxes[:, :2] + 0.5) * ratio - 0.5, boxes[:, 2:] * ratio])
        points = (points + 0.5) * ratio - 0.5
        if found is None:
            found = scores, boxes, points
            continue
        keep = np.ones(len(found[0]), bool)
        for score, box in zip(scores, boxes):
            if box[2:].max() >= CLOSE_UP_SHARE * long:
                inside = overlap(box, found[1]) > FRAGMENT_INSIDE * np.prod(found[1][:, 2:], axis=1)
                same = iou(box, found[1]) > NMS
                large = found[1][:, 2:].max(axis=1) >= FRAGMENT_SIDE * box[2:].max()
                keep &= ~((inside | same) & large & (found[0] <= FRAGMENT_SCORE * score))
        found = tuple(np.concatenate([old[keep], new]) for old, new in zip(found, (scores, boxes, points)))
    scores, boxes, points = found
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        if not kept or (iou(boxes[index], boxes[kept]) <= NMS).all():
            kept.append(index)
    return boxes[kept], points[kept]


def normalize(image, points):
    """The similarity transform onto the template (Umeyama 1991), and the crop: where it shrinks, an area average."""
    target = (TEMPLATE - (SIDE - 1) / 2) * ZOOM + (SIDE - 1) / 2
    mean_s, mean_t = points.mean(0), target.mean(0)
    s, t = points - mean_s, target - mean_t
    u, d, v = np.linalg.svd(t.T @ s / len(s))
    sign = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = u @ sign @ v
    scale = np.trace(np.diag(d) @ sign) / (s**2).sum(1).mean()
    matrix = np.hstack([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]])
    k = max(int(np.ceil(1 / scale - 1e-6)), 1)
    fine = matrix * k
    fine[:, 2] += (k - 1) / 2
    large = cv2.warpAffine(image, fine, (SIDE * k, SIDE * k), flags=cv2.INTER_LINEAR)
    return large if k == 1 else cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def embed(crop):
    """The mean of the crop's and its mirror image's vectors, at unit length."""
    values = ((crop.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1)
    vectors = [
        run(FILES["dlib-resnet-v1"], np.ascontiguousarray(side[None]))[0] for side in (values, values[:, :, ::-1])
    ]
    vector = np.mean(vectors, axis=0).ravel()
    return vector / np.linalg.norm(vector)


def analyze_onnxruntime(path, stages):
    start = time.perf_counter()
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    decoded = time.perf_counter()
    boxes, points = detect(image)
    detected = time.perf_counter()
    stages["decode"].append((decoded - start) * 1e3)
    stages["detect"].append((detected - decoded) * 1e3)
    faces = []
    for box, landmarks in zip(boxes, points):
        begin = time.perf_counter()
        crop = normalize(image, landmarks)
        cut = time.perf_counter()
        faces.append({"box": box.tolist(), "embedding": embed(crop).tolist()})
        stages["normalize"].append((cut - begin) * 1e3)
        stages["embed"].append((time.perf_counter() - cut) * 1e3)
    return faces


def analyze_face_recognition(path, stages):
    import face_recognition

    start = time.perf_counter()
    image = face_recognition.load_image_file(path)
    decoded = time.perf_counter()
    boxes = face_recognition.face_locations(image)
    detected = time.perf_counter()
    vectors = face_recognition.face_encodings(image, boxes)
    stages["decode"].append((decoded - start) * 1e3)
    stages["detect"].append((detected - decoded) * 1e3)
    if boxes:
        stages["embed"].append((time.perf_counter() - detected) * 1e3 / len(boxes))
    sides = [[left, top, right - left, bottom - top] for top, right, bottom, left in boxes]
    return [{"box": box, "embedding": vector.tolist()} for box, vector in zip(sides, vectors)]


ANALYZE = {"onnxruntime": analyze_onnxruntime, "face_recognition": analyze_face_recognition}


def timed(times, work):
    """The median over so many runs in milliseconds, after one that does not count, and its result."""
    result = work()
    milliseconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return statistics.median(milliseconds), result


@cache
def face_detector(path, width, height):
    return cv2.FaceDetectorYN.create(path, "", (width, height), 0.7, 0.3, 5000)


def answer(request):
    work = request["work"]
    if work == "network":
        shape = request["shape"]
        values = np.sin(np.arange(1, np.prod(shape) + 1, dtype=np.float32) * np.float32(0.37)).reshape(shape)
        milliseconds, outputs = timed(request["times"], lambda: run(request["model"], values))
        return {"milliseconds": milliseconds, "outputs": [output.ravel()[:1000].tolist() for output in outputs]}
    if work == "detect":
        image = cv2.imread(request["photo"])

        height, width = image.shape[:2]
        detector = face_detector(request["detector"], width, height)
        milliseconds, (_, rows) = timed(request["times"], lambda: detector.detect(image))
        return {"milliseconds": milliseconds, "faces": 0 if rows is None else len(rows)}
    stages = {"decode": [], "detect": [], "normalize": [], "embed": []}
    start = time.perf_counter()
    if work == "photo":
        faces = ANALYZE[request["peer"]](request["photo"], stages)
        return {"milliseconds": (time.perf_counter() - start) * 1e3, "faces": faces}
    if work == "folder":
        count = sum(len(ANALYZE[request["peer"]](photo, stages)) for photo in request["photos"])
        means = {stage: statistics.fmean(times) for stage, times in stages.items() if times}
        return {"seconds": time.perf_counter() - start, "faces": count, "stages": means}
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return {"peak_rss_mb": int(peak.split()[1]) * 1024 / 1e6}


def main():
    cv2.setNumThreads(THREADS)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
