/* Every function of face.h: what it is for, and every way in which it can be misused that a library can notice.
 *
 *   test FOLDER PHOTO OTHER_PERSON     an empty folder, a photo of one person, and one of another */
#include "check.h"

static const char *folder, *photo_path, *other_path;
static face_pipeline_t *pipeline;
static face_image_t *photo;
static face_image_view_t pixels;

/* A path in the folder; good until the second next call. */
static const char *in_folder(const char *name)
{
  static char paths[2][4096];
  static int turn = 0;
  turn = !turn;
  snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
  return paths[turn];
}

static unsigned char *read_file(const char *path, size_t *length)
{
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  *length = (size_t)ftell(file);
  rewind(file);
  unsigned char *bytes = (unsigned char *)malloc(*length);
  CHECK(bytes != NULL && fread(bytes, 1, *length, file) == *length);
  fclose(file);
  return bytes;
}

static void test_version(void)
{
  char expected[64];
  snprintf(expected, sizeof expected, "%d.%d.%d", FACE_VERSION_MAJOR, FACE_VERSION_MINOR, FACE_VERSION_PATCH);
  CHECK(strcmp(face_version(), expected) == 0);
  CHECK(face_version_number()
        == (uint32_t)(FACE_VERSION_MAJOR * 65536 + FACE_VERSION_MINOR * 256 + FACE_VERSION_PATCH));
  CHECK(face_has_feature("draw") && face_has_feature("hnsw") && face_has_feature("postgres") && face_has_feature("pull"));
  CHECK(!face_has_feature("telepathy"));
  REFUSES(false, face_has_feature(NULL));
  REFUSES(false, face_has_feature("\xff"));
  CHECK(strcmp(face_status_name(FACE_STATUS_NO_FACE), "FACE_STATUS_NO_FACE") == 0);
  CHECK(strcmp(face_status_name(-1), "unknown status") == 0);
}

static void test_free_null(void)
{
  /* The message of a failure outlives clean-up. */
  IS_NULL(face_image_save(NULL, NULL));
  face_image_free(NULL);
  face_models_free(NULL);
  face_space_free(NULL);
  face_embedding_free(NULL);
  face_detections_free(NULL);
  face_crop_free(NULL);
  face_analysis_free(NULL);
  face_batch_free(NULL);
  face_pipeline_free(NULL);
  face_subjects_free(NULL);
  face_gallery_free(NULL);
  face_identifications_free(NULL);
  face_candidates_free(NULL);
  face_duplicates_free(NULL);
  CHECK(strcmp(face_last_error(), "face_image_save: image is NULL") == 0);
}

static void test_images(void)
{
  face_image_t *image = UNTOUCHED(face_image_t);
  IS_NULL(face_image_open(NULL, NULL, &image));
  IS_NULL(face_image_open(photo_path, NULL, NULL));
  FAILS(face_image_open("\xc3(", NULL, &image), FACE_STATUS_INVALID_UTF8);
  FAILS(face_image_open(in_folder("nothing.jpg"), NULL, &image), FACE_STATUS_NOT_FOUND);
  CHECK(strstr(face_last_error(), "nothing.jpg") != NULL);
  FAILS(face_image_open("", NULL, &image), FACE_STATUS_NOT_FOUND);

  face_image_limits_t limits;
  memset(&limits, 0, sizeof limits);
  IS_INVALID(face_image_open(photo_path, &limits, &image)); /* struct_size */
  limits.struct_size = 1;
  IS_INVALID(face_image_open(photo_path, &limits, &image));
  limits.struct_size = (size_t)-1;
  IS_INVALID(face_image_open(photo_path, &limits, &image));
  limits.struct_size = sizeof limits;
  limits.reserved = 1;
  IS_INVALID(face_image_open(photo_path, &limits, &image));
  limits.reserved = 0;
  limits.max_pixels = 10;
  FAILS(face_image_open(photo_path, &limits, &image), FACE_STATUS_IMAGE_TOO_LARGE);
  limits.max_pixels = 0;
  limits.max_file_bytes = 10;
  FAILS(face_image_open(photo_path, &limits, &image), FACE_STATUS_FILE_TOO_LARGE);
  limits.max_file_bytes = 0;
  limits.max_side = 16;
  FAILS(face_image_open(photo_path, &limits, &image), FACE_STATUS_IMAGE_TOO_LARGE);

  /* A newer program's settings: larger, with nothing in what this library does not know. */
  struct {
    face_image_limits_t known;
    uint64_t newer;
  } newer;
  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  CHECK(image == UNTOUCHED(face_image_t));
  WORKS(face_image_open(photo_path, &newer.known, &image));
  face_image_free(image);
  image = UNTOUCHED(face_image_t);
  newer.newer = 1;
  IS_INVALID(face_image_open(photo_path, &newer.known, &image));

  size_t length;
  unsigned char *bytes = read_file(photo_path, &length);
  IS_NULL(face_image_decode(NULL, length, NULL, &image));
  IS_NULL(face_image_decode(bytes, length, NULL, NULL));
  FAILS(face_image_decode(NULL, 0, NULL, &image), FACE_STATUS_IMAGE_DECODE);
  FAILS(face_image_decode(bytes, 0, NULL, &image), FACE_STATUS_IMAGE_DECODE);
  FAILS(face_image_decode(bytes, length / 2, NULL, &image), FACE_STATUS_IMAGE_DECODE);
  FAILS(face_image_decode((const unsigned char *)"no photo", 8, NULL, &image), FACE_STATUS_IMAGE_DECODE);
  IS_INVALID(face_image_decode(bytes, (size_t)-1, NULL, &image));
  CHECK(image == UNTOUCHED(face_image_t));
  WORKS(face_image_decode(bytes, length, NULL, &image));
  free(bytes);

  /* The pixels are those of the file, without a copy. */
  face_image_view_t view;
  memset(&view, 0x55, sizeof view);
  IS_NULL(face_image_view(NULL, &view));
  IS_NULL(face_image_view(image, NULL));
  CHECK(view.width == 0x55555555);
  WORKS(face_image_view(image, &view));
  CHECK(view.width == pixels.width && view.height == pixels.height && view.format == FACE_PIXEL_RGB8);
  CHECK(view.stride == (size_t)view.width * 3);
  CHECK(memcmp(view.data, pixels.data, view.stride * view.height) == 0);

  IS_NULL(face_image_save(image, NULL));
  IS_INVALID(face_image_save(image, in_folder("photo.xyz")));
  FAILS(face_image_save(image, in_folder("no/such/folder.png")), FACE_STATUS_NOT_FOUND);
  WORKS(face_image_save(image, in_folder("saved.png")));
  face_image_free(image);
  WORKS(face_image_open(in_folder("saved.png"), NULL, &image));
  WORKS(face_image_view(image, &view));
  CHECK(memcmp(view.data, pixels.data, view.stride * view.height) == 0);
  face_image_free(image);
}

static face_image_view_t view_of(const void *data, uint32_t width, uint32_t height, size_t stride, uint32_t format)
{
  face_image_view_t view;
  view.data = (const unsigned char *)data;
  view.stride = stride;
  view.width = width;
  view.height = height;
  view.format = format;
  return view;
}

static void test_views(void)
{
  /* Five columns of two pixels, with a gap behind each row. */
  static const unsigned char data[2 * 32] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  face_image_t *image = UNTOUCHED(face_image_t);
  face_image_view_t view = view_of(data, 5, 2, 32, FACE_PIXEL_RGB8), copied;
  IS_NULL(face_image_copy(NULL, &image));
  IS_NULL(face_image_copy(&view, NULL));
  view = view_of(NULL, 5, 2, 32, FACE_PIXEL_RGB8);
  IS_NULL(face_image_copy(&view, &image));
  static const struct {
    uint32_t width, height;
    size_t stride;
    face_status_t expected;
  } wrong[] = {
      {0, 2, 32, FACE_STATUS_IMAGE_BUFFER},
      {5, 0, 32, FACE_STATUS_IMAGE_BUFFER},
      {0, 0, 0, FACE_STATUS_IMAGE_BUFFER},
      {5, 2, 14, FACE_STATUS_IMAGE_BUFFER},
      {5, 2, 1, FACE_STATUS_IMAGE_BUFFER},
      {1048577, 1, 0, FACE_STATUS_IMAGE_BUFFER},
      {0xFFFFFFFF, 0xFFFFFFFF, 0, FACE_STATUS_IMAGE_BUFFER},
      {0x80000000, 2, 0, FACE_STATUS_IMAGE_BUFFER},
      {5, 2, (size_t)-1, FACE_STATUS_IMAGE_BUFFER},
      {5, 1048576, (size_t)-1 / 1048576, FACE_STATUS_IMAGE_BUFFER},
      {5, 3, (size_t)1 << (8 * sizeof(size_t) - 2), FACE_STATUS_IMAGE_BUFFER},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    view = view_of(data, wrong[i].width, wrong[i].height, wrong[i].stride, FACE_PIXEL_RGB8);
    FAILS(face_image_copy(&view, &image), wrong[i].expected);
  }
  static const uint32_t no_formats[] = {0, 6, 0xFFFFFFFF};
  for (size_t i = 0; i < sizeof no_formats / sizeof *no_formats; i++) {
    view = view_of(data, 5, 2, 32, no_formats[i]);
    IS_INVALID(face_image_copy(&view, &image));
  }
  CHECK(image == UNTOUCHED(face_image_t));

  /* Each format, by its second pixel. */
  static const struct {
    uint32_t format;
    unsigned char rgb[3];
  } formats[] = {
      {FACE_PIXEL_RGB8, {4, 5, 6}},  {FACE_PIXEL_BGR8, {6, 5, 4}},  {FACE_PIXEL_RGBA8, {5, 6, 7}},
      {FACE_PIXEL_BGRA8, {7, 6, 5}}, {FACE_PIXEL_GRAY8, {2, 2, 2}},
  };
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    view = view_of(data, 5, 2, 32, formats[i].format);
    WORKS(face_image_copy(&view, &image));
    WORKS(face_image_view(image, &copied));
    CHECK(memcmp(copied.data + 3, formats[i].rgb, 3) == 0);
    face_image_free(image);
  }
  /* No gap is needed behind the last row. */
  unsigned char *tight = (unsigned char *)malloc(32 + 15);
  CHECK(tight != NULL);
  memcpy(tight, data, 32 + 15);
  view = view_of(tight, 5, 2, 32, FACE_PIXEL_RGB8);
  WORKS(face_image_copy(&view, &image));
  face_image_free(image);
  free(tight);
}

static void test_models(void)
{
  face_models_t *models = UNTOUCHED(face_models_t);
  IS_NULL(face_models_list(NULL, NULL));
  FAILS(face_models_list("\xff", &models), FACE_STATUS_INVALID_UTF8);
  CHECK(models == UNTOUCHED(face_models_t));
  WORKS(face_models_list(NULL, &models));
  REFUSES(NULL, face_models_folder(NULL));
  REFUSES((size_t)0, face_models_count(NULL));
  CHECK(face_models_folder(models)[0] != '\0');
  const size_t count = face_models_count(models);
  CHECK(count >= 5);
  face_model_t model;
  int detectors = 0, embedders = 0;
  IS_NULL(face_models_get(NULL, 0, &model));
  IS_NULL(face_models_get(models, 0, NULL));
  IS_INVALID(face_models_get(models, count, &model));
  IS_INVALID(face_models_get(models, (size_t)-1, &model));
  for (size_t i = 0; i < count; i++) {
    WORKS(face_models_get(models, i, &model));
    CHECK(model.name[0] && model.licence[0] && model.summary[0] && model.path[0] && model.bytes > 0);
    detectors += model.is_default && strcmp(model.role, "detector") == 0 && model.is_present;
    embedders += model.is_default && strcmp(model.role, "embedder") == 0 && model.is_present;
  }
  CHECK(detectors == 1 && embedders == 1);
  face_models_free(models);

  IS_NULL(face_models_check(NULL, NULL));
  FAILS(face_models_check(NULL, "no-such-model"), FACE_STATUS_UNKNOWN_NAME);
  WORKS(face_models_check(NULL, "centerface"));
  FAILS(face_models_check(folder, "centerface"), FACE_STATUS_MODEL_MISSING);
  CHECK(strstr(face_last_error(), "face_models_pull()") != NULL);

  const char *names[] = {"centerface", NULL};
  IS_NULL(face_models_pull(NULL, names, 2, NULL, NULL));
  IS_NULL(face_models_pull(NULL, NULL, 1, NULL, NULL));
  names[1] = "no-such-model";
  FAILS(face_models_pull(NULL, names, 2, NULL, NULL), FACE_STATUS_UNKNOWN_NAME);
  names[1] = "\xff";
  FAILS(face_models_pull(NULL, names, 2, NULL, NULL), FACE_STATUS_INVALID_UTF8);
}

static void count_event(const char *name, uint64_t received, uint64_t total, void *user)
{
  CHECK(name[0] != '\0' && received <= total);
  ++*(int *)user;
}

static void test_pull(void)
{
  /* All is there already: told, and no network asked. */
  const char *names[] = {"centerface", "dlib-resnet-v1"};
  int events = 0;
  WORKS(face_models_pull(NULL, names, 2, count_event, &events));
  CHECK(events == 2);
  WORKS(face_models_pull(NULL, NULL, 0, NULL, NULL));
}

static void test_pipeline_params(void)
{
  face_pipeline_t *opened = UNTOUCHED(face_pipeline_t);
  face_pipeline_params_t params;
  IS_NULL(face_pipeline_open(NULL, NULL));
  memset(&params, 0, sizeof params);
  IS_INVALID(face_pipeline_open(&params, &opened));
#define TRY(member, value, call) \
  do { \
    memset(&params, 0, sizeof params); \
    params.struct_size = sizeof params; \
    params.member = value; \
    call; \
  } while (0)
  TRY(detector, "no-such-model", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_UNKNOWN_NAME));
  TRY(detector, "dlib-resnet-v1", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_MODEL_INVALID));
  TRY(detector, "\xff", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_INVALID_UTF8));
  TRY(detector_path, "no/such/file.onnx", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_NOT_FOUND));
  TRY(detector_path, photo_path, FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_MODEL_INVALID));
  TRY(detector_bytes_length, 5, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(embedder_path, "no/such/file.onnx", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_NOT_FOUND));
  TRY(embedder_variant, "no-such-variant", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_UNKNOWN_NAME));
  TRY(embedder_spec, "this is no TOML", FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_FORMAT));
  TRY(models_folder, folder, FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_MODEL_MISSING));
  TRY(score_threshold, 1.5F, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(nms_threshold, -1.0F, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(min_size, -1.0F, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(max_side, 31, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(small_side, 8193, IS_INVALID(face_pipeline_open(&params, &opened)));
  TRY(reserved, 1, IS_INVALID(face_pipeline_open(&params, &opened)));
  memset(&params, 0, sizeof params);
  params.struct_size = sizeof params;
  params.detector = "centerface";
  params.detector_path = "centerface.onnx";
  IS_INVALID(face_pipeline_open(&params, &opened));
  CHECK(opened == UNTOUCHED(face_pipeline_t));

  /* The bytes of a model instead of its name, and settings that can be seen at work. */
  face_models_t *models = NULL;
  face_model_t model;
  size_t length = 0;
  unsigned char *bytes = NULL;
  WORKS(face_models_list(NULL, &models));
  for (size_t i = 0; i < face_models_count(models); i++) {
    WORKS(face_models_get(models, i, &model));
    if (strcmp(model.name, "centerface") == 0)
      bytes = read_file(model.path, &length);
  }
  face_models_free(models);
  CHECK(bytes != NULL);
  memset(&params, 0, sizeof params);
  params.struct_size = sizeof params;
  params.detector_bytes = bytes;
  params.detector_bytes_length = length / 2;
  FAILS(face_pipeline_open(&params, &opened), FACE_STATUS_MODEL_INVALID);
  params.detector_bytes_length = length;
  params.small_side = FACE_NO_SMALL_SIDE;
  params.min_size = 5000.0F;
  WORKS(face_pipeline_open(&params, &opened));
  free(bytes);
  face_detections_t *none = NULL;
  WORKS(face_pipeline_detect(opened, &pixels, &none));
  CHECK(face_detections_count(none) == 0);
  face_detections_free(none);
  face_pipeline_free(opened);
}

static void test_stages(void)
{
  face_detections_t *detections = UNTOUCHED(face_detections_t);
  face_detection_t detection;
  face_landmarks_t landmarks;
  face_crop_t *crop = UNTOUCHED(face_crop_t);
  face_embedding_t *embedding = UNTOUCHED(face_embedding_t);

  IS_NULL(face_pipeline_detect(NULL, &pixels, &detections));
  IS_NULL(face_pipeline_detect(pipeline, NULL, &detections));
  IS_NULL(face_pipeline_detect(pipeline, &pixels, NULL));
  face_image_view_t wrong = view_of(pixels.data, 0, 0, 0, FACE_PIXEL_RGB8);
  FAILS(face_pipeline_detect(pipeline, &wrong, &detections), FACE_STATUS_IMAGE_BUFFER);
  CHECK(detections == UNTOUCHED(face_detections_t));
  WORKS(face_pipeline_detect(pipeline, &pixels, &detections));
  REFUSES((size_t)0, face_detections_count(NULL));
  CHECK(face_detections_count(detections) == 1);
  memset(&detection, 0x55, sizeof detection);
  IS_NULL(face_detections_get(NULL, 0, &detection));
  IS_NULL(face_detections_get(detections, 0, NULL));
  IS_INVALID(face_detections_get(detections, 1, &detection));
  WORKS(face_detections_get(detections, 0, &detection));
  face_detections_free(detections);
  CHECK(detection.score > 0.5F && detection.score <= 1.0F);
  CHECK(detection.bounding_box.width > 10.0F && detection.landmarks.scheme == FACE_LANDMARKS_EYES_NOSE_MOUTH);
  CHECK(strcmp(face_landmark_scheme_name(detection.landmarks.scheme), "eyes-nose-mouth") == 0);
  CHECK(strcmp(face_landmark_scheme_name(FACE_LANDMARKS_NONE), "none") == 0);
  CHECK(face_landmark_scheme_name(77)[0] == '\0');

  IS_NULL(face_pipeline_align(NULL, &pixels, &detection, &landmarks));
  IS_NULL(face_pipeline_align(pipeline, NULL, &detection, &landmarks));
  IS_NULL(face_pipeline_align(pipeline, &pixels, NULL, &landmarks));
  IS_NULL(face_pipeline_align(pipeline, &pixels, &detection, NULL));
  face_detection_t blind = detection;
  blind.landmarks.scheme = FACE_LANDMARKS_NONE;
  FAILS(face_pipeline_align(pipeline, &pixels, &blind, &landmarks), FACE_STATUS_LANDMARKS_MISSING);
  blind.landmarks.scheme = 9;
  IS_INVALID(face_pipeline_align(pipeline, &pixels, &blind, &landmarks));
  WORKS(face_pipeline_align(pipeline, &pixels, &detection, &landmarks));
  CHECK(landmarks.scheme == detection.landmarks.scheme);

  IS_NULL(face_pipeline_normalize(NULL, &pixels, &landmarks, &crop));
  IS_NULL(face_pipeline_normalize(pipeline, NULL, &landmarks, &crop));
  IS_NULL(face_pipeline_normalize(pipeline, &pixels, NULL, &crop));
  IS_NULL(face_pipeline_normalize(pipeline, &pixels, &landmarks, NULL));
  face_landmarks_t degenerate = landmarks;
  for (int i = 0; i < 5; i++)
    degenerate.points[i] = landmarks.points[0];
  FAILS(face_pipeline_normalize(pipeline, &pixels, &degenerate, &crop), FACE_STATUS_DEGENERATE_LANDMARKS);
  degenerate.points[2].y = (float)(1e38 * 1e3);
  FAILS(face_pipeline_normalize(pipeline, &pixels, &degenerate, &crop), FACE_STATUS_NON_FINITE);
  degenerate.scheme = FACE_LANDMARKS_NONE;
  IS_INVALID(face_pipeline_normalize(pipeline, &pixels, &degenerate, &crop));
  degenerate = landmarks;
  degenerate.scheme = FACE_LANDMARKS_EYE_CORNERS_NOSE;
  FAILS(face_pipeline_normalize(pipeline, &pixels, &degenerate, &crop), FACE_STATUS_LANDMARK_SCHEME);
  CHECK(crop == UNTOUCHED(face_crop_t));
  WORKS(face_pipeline_normalize(pipeline, &pixels, &landmarks, &crop));

  face_image_view_t face;
  double transform[6] = {0};
  REFUSES((size_t)0, face_crop_count(NULL));
  const size_t pictures = face_crop_count(crop);
  CHECK(pictures >= 1);
  IS_NULL(face_crop_view(NULL, 0, &face));
  IS_NULL(face_crop_view(crop, 0, NULL));
  IS_INVALID(face_crop_view(crop, pictures, &face));
  WORKS(face_crop_view(crop, 0, &face));
  CHECK(face.width == 150 && face.height == 150 && face.format == FACE_PIXEL_RGB8);
  IS_NULL(face_crop_transform(NULL, transform));
  IS_NULL(face_crop_transform(crop, NULL));
  WORKS(face_crop_transform(crop, transform));
  /* The eyes lie on the template's. */
  const double x = transform[0] * landmarks.points[0].x + transform[1] * landmarks.points[0].y + transform[2];
  const double y = transform[3] * landmarks.points[0].x + transform[4] * landmarks.points[0].y + transform[5];
  CHECK(x > 38 && x < 58 && y > 38 && y < 58);
  CHECK(transform[0] == transform[4] && transform[1] == -transform[3]);

  IS_NULL(face_pipeline_embed(NULL, crop, &embedding));
  IS_NULL(face_pipeline_embed(pipeline, NULL, &embedding));
  IS_NULL(face_pipeline_embed(pipeline, crop, NULL));
  CHECK(embedding == UNTOUCHED(face_embedding_t));
  WORKS(face_pipeline_embed(pipeline, crop, &embedding));

  /* One call for all of it gives the same numbers. */
  face_analysis_t *analysis = UNTOUCHED(face_analysis_t);
  IS_NULL(face_pipeline_analyze_largest(NULL, &pixels, &analysis));
  IS_NULL(face_pipeline_analyze_largest(pipeline, NULL, &analysis));
  IS_NULL(face_pipeline_analyze_largest(pipeline, &pixels, NULL));
  static const unsigned char black[64 * 64] = {0};
  const face_image_view_t nobody = view_of(black, 64, 64, 0, FACE_PIXEL_GRAY8);
  FAILS(face_pipeline_analyze_largest(pipeline, &nobody, &analysis), FACE_STATUS_NO_FACE);
  CHECK(analysis == UNTOUCHED(face_analysis_t));
  WORKS(face_pipeline_analyze_largest(pipeline, &pixels, &analysis));
  const face_embedding_t *lent = face_analysis_embedding(analysis, 0);
  CHECK(face_embedding_dimension(lent) == face_embedding_dimension(embedding));
  CHECK(memcmp(face_embedding_values(lent), face_embedding_values(embedding),
               sizeof(float) * face_embedding_dimension(lent))
        == 0);
  face_analysis_free(analysis);

  IS_NULL(face_pipeline_embed_detection(NULL, &pixels, &detection, &analysis));
  IS_NULL(face_pipeline_embed_detection(pipeline, NULL, &detection, &analysis));
  IS_NULL(face_pipeline_embed_detection(pipeline, &pixels, NULL, &analysis));
  IS_NULL(face_pipeline_embed_detection(pipeline, &pixels, &detection, NULL));
  blind.landmarks.scheme = FACE_LANDMARKS_NONE;
  FAILS(face_pipeline_embed_detection(pipeline, &pixels, &blind, &analysis), FACE_STATUS_LANDMARKS_MISSING);
  WORKS(face_pipeline_embed_detection(pipeline, &pixels, &detection, &analysis));
  CHECK(memcmp(face_embedding_values(face_analysis_embedding(analysis, 0)), face_embedding_values(embedding),
               sizeof(float) * 128)
        == 0);
  face_analysis_free(analysis);

  /* A crop that was aligned elsewhere. */
  face_crop_t *aligned = UNTOUCHED(face_crop_t);
  IS_NULL(face_pipeline_aligned_crop(NULL, &face, 1, &aligned));
  IS_NULL(face_pipeline_aligned_crop(pipeline, NULL, 1, &aligned));
  IS_NULL(face_pipeline_aligned_crop(pipeline, &face, 1, NULL));
  IS_INVALID(face_pipeline_aligned_crop(pipeline, &face, (size_t)-1, &aligned));
  FAILS(face_pipeline_aligned_crop(pipeline, &pixels, 1, &aligned), FACE_STATUS_CROP_MISMATCH);
  FAILS(face_pipeline_aligned_crop(pipeline, NULL, 0, &aligned), FACE_STATUS_CROP_MISMATCH);
  CHECK(aligned == UNTOUCHED(face_crop_t));
  CHECK(pictures == 1);
  WORKS(face_pipeline_aligned_crop(pipeline, &face, 1, &aligned));
  face_embedding_t *same = NULL;
  WORKS(face_pipeline_embed(pipeline, aligned, &same));
  CHECK(memcmp(face_embedding_values(same), face_embedding_values(embedding), sizeof(float) * 128) == 0);
  face_embedding_free(same);
  face_embedding_free(embedding);
  face_crop_free(aligned);
  face_crop_free(crop);

  face_image_t *drawn = UNTOUCHED(face_image_t);
  IS_NULL(face_draw_detections(NULL, &detection, 1, &drawn));
  IS_NULL(face_draw_detections(&pixels, NULL, 1, &drawn));
  IS_NULL(face_draw_detections(&pixels, &detection, 1, NULL));
  IS_INVALID(face_draw_detections(&pixels, &detection, (size_t)-1, &drawn));
  blind.landmarks.scheme = 0;
  blind.bounding_box.x = (float)(1e38 * 1e3);
  FAILS(face_draw_detections(&pixels, &blind, 1, &drawn), FACE_STATUS_NON_FINITE);
  CHECK(drawn == UNTOUCHED(face_image_t));
  WORKS(face_draw_detections(&pixels, NULL, 0, &drawn));
  face_image_free(drawn);
  WORKS(face_draw_detections(&pixels, &detection, 1, &drawn));
  face_image_view_t picture;
  WORKS(face_image_view(drawn, &picture));
  CHECK(picture.width == pixels.width && memcmp(picture.data, pixels.data, picture.stride * picture.height) != 0);
  face_image_free(drawn);
}

static void test_analysis(void)
{
  face_analysis_t *analysis = UNTOUCHED(face_analysis_t);
  face_detection_t detection;
  face_landmarks_t landmarks;
  IS_NULL(face_pipeline_analyze(NULL, &pixels, &analysis));
  IS_NULL(face_pipeline_analyze(pipeline, NULL, &analysis));
  IS_NULL(face_pipeline_analyze(pipeline, &pixels, NULL));
  CHECK(analysis == UNTOUCHED(face_analysis_t));
  WORKS(face_pipeline_analyze(pipeline, &pixels, &analysis));
  REFUSES((size_t)0, face_analysis_count(NULL));
  REFUSES((size_t)0, face_analysis_largest(NULL));
  REFUSES((size_t)0, face_analysis_rejected_count(NULL));
  CHECK(face_analysis_count(analysis) == 1 && face_analysis_largest(analysis) == 0);
  CHECK(face_analysis_rejected_count(analysis) == 0);
  IS_NULL(face_analysis_detection(NULL, 0, &detection));
  IS_NULL(face_analysis_detection(analysis, 0, NULL));
  IS_INVALID(face_analysis_detection(analysis, 1, &detection));
  WORKS(face_analysis_detection(analysis, 0, &detection));
  IS_NULL(face_analysis_landmarks(NULL, 0, &landmarks));
  IS_NULL(face_analysis_landmarks(analysis, 0, NULL));
  IS_INVALID(face_analysis_landmarks(analysis, 1, &landmarks));
  WORKS(face_analysis_landmarks(analysis, 0, &landmarks));
  CHECK(memcmp(&landmarks, &detection.landmarks, sizeof landmarks) == 0);
  REFUSES(NULL, face_analysis_embedding(NULL, 0));
  REFUSES(NULL, face_analysis_embedding(analysis, 1));
  CHECK(face_analysis_embedding(analysis, 0) != NULL);
  face_status_t reason = FACE_STATUS_OK;
  const char *message = NULL;
  IS_NULL(face_analysis_rejected(NULL, 0, &detection, &reason, &message));
  IS_INVALID(face_analysis_rejected(analysis, 0, &detection, &reason, &message));
  IS_INVALID(face_analysis_rejected(analysis, 0, NULL, NULL, NULL));
  face_analysis_free(analysis);

  /* Images side by side, some of them wrong: each has a status of its own. */
  face_image_view_t views[4];
  static const unsigned char black[64 * 64] = {0};
  views[0] = pixels;
  views[1] = view_of(NULL, 5, 5, 0, FACE_PIXEL_RGB8);
  views[2] = view_of(black, 64, 64, 0, FACE_PIXEL_GRAY8);
  views[3] = view_of(black, 64, 64, 63, FACE_PIXEL_GRAY8);
  face_batch_t *batch = UNTOUCHED(face_batch_t);
  IS_NULL(face_pipeline_analyze_batch(NULL, views, 4, &batch));
  IS_NULL(face_pipeline_analyze_batch(pipeline, NULL, 4, &batch));
  IS_NULL(face_pipeline_analyze_batch(pipeline, views, 4, NULL));
  IS_INVALID(face_pipeline_analyze_batch(pipeline, views, (size_t)-1 / 8, &batch));
  CHECK(batch == UNTOUCHED(face_batch_t));
  WORKS(face_pipeline_analyze_batch(pipeline, NULL, 0, &batch));
  CHECK(face_batch_count(batch) == 0);
  face_batch_free(batch);
  WORKS(face_pipeline_analyze_batch(pipeline, views, 4, &batch));
  REFUSES((size_t)0, face_batch_count(NULL));
  CHECK(face_batch_count(batch) == 4);
  IS_NULL(face_batch_status(NULL, 0));
  REFUSES(NULL, face_batch_message(NULL, 0));
  REFUSES(NULL, face_batch_analysis(NULL, 0));
  IS_INVALID(face_batch_status(batch, 4));
  REFUSES(NULL, face_batch_message(batch, 4));
  REFUSES(NULL, face_batch_analysis(batch, 4));
  WORKS(face_batch_status(batch, 0));
  CHECK(face_batch_message(batch, 0)[0] == '\0');
  CHECK(face_analysis_count(face_batch_analysis(batch, 0)) == 1);
  IS_NULL(face_batch_status(batch, 1));
  CHECK(strstr(face_batch_message(batch, 1), "NULL") != NULL);
  REFUSES(NULL, face_batch_analysis(batch, 1));
  WORKS(face_batch_status(batch, 2));
  CHECK(face_analysis_count(face_batch_analysis(batch, 2)) == 0);
  FAILS(face_batch_status(batch, 3), FACE_STATUS_IMAGE_BUFFER);
  face_batch_free(batch);
}

/* The values of the only face of an analysis, which is freed. */
static void values_of(face_analysis_t *analysis, float values[128])
{
  CHECK(face_analysis_count(analysis) == 1);
  memcpy(values, face_embedding_values(face_analysis_embedding(analysis, 0)), 128 * sizeof *values);
  face_analysis_free(analysis);
}

static void test_threads(void)
{
  IS_INVALID(face_set_threads(1025));
  float expected[128];
  for (size_t threads = 0; threads < 4; threads++) {
    float values[128];
    face_analysis_t *analysis = NULL;
    WORKS(face_set_threads(threads));
    WORKS(face_pipeline_analyze(pipeline, &pixels, &analysis));
    values_of(analysis, threads == 0 ? expected : values);
    CHECK(threads == 0 || memcmp(values, expected, sizeof values) == 0);
  }
  WORKS(face_set_threads(0));
}

static void test_stream(void)
{
  face_stream_t *stream = UNTOUCHED(face_stream_t);
  face_analysis_t *analysis = NULL;
  face_stream_params_t params = {0, 0, 0};
  IS_INVALID(face_pipeline_stream(pipeline, &params, &stream)); /* struct_size */
  params.struct_size = sizeof params;
  params.threads = 1025;
  IS_INVALID(face_pipeline_stream(pipeline, &params, &stream));
  params.threads = 0;
  params.ahead = 100001;
  IS_INVALID(face_pipeline_stream(pipeline, &params, &stream));
  params.threads = 2;
  params.ahead = 3;
  IS_NULL(face_pipeline_stream(NULL, &params, &stream));
  IS_NULL(face_pipeline_stream(pipeline, &params, NULL));
  CHECK(stream == UNTOUCHED(face_stream_t));
  WORKS(face_pipeline_stream(pipeline, &params, &stream));
  REFUSES(false, face_stream_has_room(NULL));
  REFUSES((size_t)0, face_stream_waiting(NULL));
  CHECK(face_stream_has_room(stream) && face_stream_waiting(stream) == 0);
  IS_INVALID(face_stream_take(stream, &analysis)); /* Nothing is on its way. */

  /* Pixels, of which nothing is needed any more; a file that is not there; the content of a file. */
  float expected[128], values[128];
  WORKS(face_pipeline_analyze(pipeline, &pixels, &analysis));
  values_of(analysis, expected);
  analysis = NULL;
  unsigned char *frame = (unsigned char *)malloc(pixels.stride * pixels.height);
  memcpy(frame, pixels.data, pixels.stride * pixels.height);
  face_image_view_t view = pixels;
  view.data = frame;
  IS_NULL(face_stream_push(NULL, &view));
  IS_NULL(face_stream_push(stream, NULL));
  const face_image_view_t too_narrow = view_of(frame, 64, 64, 63, FACE_PIXEL_GRAY8);
  FAILS(face_stream_push(stream, &too_narrow), FACE_STATUS_IMAGE_BUFFER);
  WORKS(face_stream_push(stream, &view));
  memset(frame, 0, pixels.stride * pixels.height);
  free(frame);
  IS_NULL(face_stream_push_file(NULL, "missing.jpg"));
  IS_NULL(face_stream_push_file(stream, NULL));
  WORKS(face_stream_push_file(stream, "missing.jpg"));
  size_t length = 0;
  unsigned char *bytes = read_file(photo_path, &length);
  IS_NULL(face_stream_push_bytes(NULL, bytes, length));
  IS_NULL(face_stream_push_bytes(stream, NULL, length));
  WORKS(face_stream_push_bytes(stream, bytes, length));
  CHECK(!face_stream_has_room(stream) && face_stream_waiting(stream) == 3);
  IS_INVALID(face_stream_push(stream, &pixels));
  IS_INVALID(face_stream_push_file(stream, photo_path));
  IS_INVALID(face_stream_push_bytes(stream, bytes, length));
  free(bytes);
  IS_NULL(face_stream_take(NULL, &analysis));
  IS_NULL(face_stream_take(stream, NULL));
  CHECK(face_stream_waiting(stream) == 3);
  for (int photo = 0; photo < 4; photo++) {
    if (photo == 1) {
      FAILS(face_stream_take(stream, &analysis), FACE_STATUS_NOT_FOUND);
      CHECK(strstr(face_last_error(), "missing.jpg") != NULL && analysis == NULL);
      WORKS(face_stream_push_file(stream, photo_path));
    } else {
      WORKS(face_stream_take(stream, &analysis));
      values_of(analysis, values);
      CHECK(memcmp(values, expected, sizeof values) == 0);
      analysis = NULL;
    }
  }
  CHECK(face_stream_waiting(stream) == 0);

  /* Given up in the middle; and the default settings, with a pipeline that is gone. */
  WORKS(face_stream_push(stream, &pixels));
  face_stream_free(stream);
  face_stream_free(NULL);
  face_pipeline_t *short_lived = NULL;
  WORKS(face_pipeline_open(NULL, &short_lived));
  WORKS(face_pipeline_stream(short_lived, NULL, &stream));
  face_pipeline_free(short_lived);
  WORKS(face_stream_push(stream, &pixels));
  WORKS(face_stream_take(stream, &analysis));
  values_of(analysis, values);
  CHECK(memcmp(values, expected, sizeof values) == 0);
  face_stream_free(stream);
}

static face_embedding_t *embedding_of(const char *path)
{
  face_image_t *image = NULL;
  face_image_view_t view;
  face_analysis_t *analysis = NULL;
  face_embedding_t *embedding = NULL;
  WORKS(face_image_open(path, NULL, &image));
  WORKS(face_image_view(image, &view));
  WORKS(face_pipeline_analyze_largest(pipeline, &view, &analysis));
  WORKS(face_embedding_clone(face_analysis_embedding(analysis, 0), &embedding));
  face_analysis_free(analysis);
  face_image_free(image);
  return embedding;
}

static void test_embeddings(void)
{
  face_embedding_t *one = embedding_of(photo_path), *other = embedding_of(other_path), *made = UNTOUCHED(face_embedding_t);
  face_embedding_t *copy = UNTOUCHED(face_embedding_t);
  IS_NULL(face_embedding_clone(NULL, &copy));
  IS_NULL(face_embedding_clone(one, NULL));
  REFUSES(NULL, face_embedding_values(NULL));
  REFUSES((size_t)0, face_embedding_dimension(NULL));
  const size_t dimension = face_embedding_dimension(one);
  CHECK(dimension == 128);

  face_space_t *space = UNTOUCHED(face_space_t);
  IS_NULL(face_embedding_space(NULL, &space));
  IS_NULL(face_embedding_space(one, NULL));
  CHECK(space == UNTOUCHED(face_space_t) && copy == UNTOUCHED(face_embedding_t));
  WORKS(face_embedding_space(one, &space));
  REFUSES(NULL, face_pipeline_space(NULL));
  CHECK(strcmp(face_space_id(space), face_space_id(face_pipeline_space(pipeline))) == 0);
  REFUSES(NULL, face_space_id(NULL));
  REFUSES(NULL, face_space_model(NULL));
  REFUSES((size_t)0, face_space_dimension(NULL));
  REFUSES(FACE_METRIC_UNKNOWN, face_space_metric(NULL));
  REFUSES((size_t)0, face_space_threshold_count(NULL));
  CHECK(strstr(face_space_id(space), face_space_model(space)) != NULL && face_space_dimension(space) == dimension);
  CHECK(face_space_metric(space) == FACE_METRIC_EUCLIDEAN || face_space_metric(space) == FACE_METRIC_COSINE);

  face_threshold_t threshold, listed;
  IS_NULL(face_space_threshold(NULL, 0, &threshold));
  IS_NULL(face_space_threshold(space, 0, NULL));
  IS_INVALID(face_space_threshold(space, face_space_threshold_count(space), &threshold));
  IS_NULL(face_space_threshold_at(NULL, 1e-3, &threshold));
  IS_NULL(face_space_threshold_at(space, 1e-3, NULL));
  FAILS(face_space_threshold_at(space, 0.123, &threshold), FACE_STATUS_THRESHOLD_UNKNOWN);
  IS_INVALID(face_space_threshold_at(space, -1.0, &threshold));
  WORKS(face_space_threshold_at(space, 1e-3, &threshold));
  CHECK(threshold.far > 0.99e-3 && threshold.far < 1.01e-3 && threshold.measured_on[0] != '\0');
  int found = 0;
  for (size_t i = 0; i < face_space_threshold_count(space); i++) {
    WORKS(face_space_threshold(space, i, &listed));
    found += listed.far == threshold.far && listed.similarity == threshold.similarity;
  }
  CHECK(found == 1);

  float similarity = -5.0F;
  IS_NULL(face_embedding_similarity(NULL, other, &similarity));
  IS_NULL(face_embedding_similarity(one, NULL, &similarity));
  IS_NULL(face_embedding_similarity(one, other, NULL));
  CHECK(similarity == -5.0F);
  WORKS(face_embedding_similarity(one, other, &similarity));
  face_verification_t answer;
  memset(&answer, 0x55, sizeof answer);
  IS_NULL(face_verify(NULL, other, &threshold, &answer));
  IS_NULL(face_verify(one, NULL, &threshold, &answer));
  IS_NULL(face_verify(one, other, NULL, &answer));
  IS_NULL(face_verify(one, other, &threshold, NULL));
  listed.similarity = (float)(1e38 * 1e3);
  IS_INVALID(face_verify(one, other, &listed, &answer));
  listed = threshold;
  listed.measured_on = "\xff";
  FAILS(face_verify(one, other, &listed, &answer), FACE_STATUS_INVALID_UTF8);
  listed.measured_on = NULL;
  WORKS(face_verify(one, other, &listed, &answer));
  CHECK(!answer.is_match && answer.similarity == similarity);
  WORKS(face_verify(one, one, &threshold, &answer));
  CHECK(answer.is_match);

  /* Values that were kept elsewhere. */
  IS_NULL(face_embedding_new(NULL, face_embedding_values(one), dimension, &made));
  IS_NULL(face_embedding_new(space, NULL, dimension, &made));
  IS_NULL(face_embedding_new(space, face_embedding_values(one), dimension, NULL));
  FAILS(face_embedding_new(space, face_embedding_values(one), dimension - 1, &made), FACE_STATUS_INVALID_EMBEDDING);
  FAILS(face_embedding_new(space, NULL, 0, &made), FACE_STATUS_INVALID_EMBEDDING);
  IS_INVALID(face_embedding_new(space, face_embedding_values(one), (size_t)-1, &made));
  float values[128];
  memcpy(values, face_embedding_values(one), sizeof values);
  values[7] = (float)(1e38 * 1e3);
  FAILS(face_embedding_new(space, values, dimension, &made), FACE_STATUS_NON_FINITE);
  CHECK(made == UNTOUCHED(face_embedding_t));
  WORKS(face_embedding_new(space, face_embedding_values(one), dimension, &made));
  WORKS(face_verify(one, made, &threshold, &answer));
  CHECK(answer.is_match);

  const face_embedding_t *all[4] = {one, other, made, NULL};
  size_t groups[4] = {9, 9, 9, 9};
  IS_NULL(face_cluster(all, 4, threshold.similarity, groups));
  IS_NULL(face_cluster(NULL, 3, threshold.similarity, groups));
  IS_NULL(face_cluster(all, 3, threshold.similarity, NULL));
  IS_INVALID(face_cluster(all, (size_t)-1, threshold.similarity, groups));
  IS_INVALID(face_cluster(all, 3, (float)(1e38 * 1e3) * 0.0F, groups));
  CHECK(groups[0] == 9);
  WORKS(face_cluster(NULL, 0, threshold.similarity, NULL));
  WORKS(face_cluster(all, 3, threshold.similarity, groups));
  CHECK(groups[0] == 0 && groups[1] == 1 && groups[2] == 0 && groups[3] == 9);

  face_space_free(space);
  face_embedding_free(made);
  face_embedding_free(other);
  face_embedding_free(one);
}

static void test_gallery_params(void)
{
  face_gallery_t *gallery = UNTOUCHED(face_gallery_t);
  const face_space_t *space = face_pipeline_space(pipeline);
  face_gallery_params_t params;
#undef TRY
#define TRY(member, value) \
  do { \
    memset(&params, 0, sizeof params); \
    params.struct_size = sizeof params; \
    params.approximate = 1; \
    params.member = value; \
    IS_INVALID(face_gallery_in_memory(space, &params, &gallery)); \
  } while (0)
  TRY(struct_size, 0);
  TRY(precision, 2);
  TRY(approximate, 2);
  TRY(connectivity, 3);
  TRY(expansion_add, 4097);
  TRY(expansion_search, 1);
  TRY(reserved, 1);
  params.reserved = 0;
  params.approximate = 0;
  params.connectivity = 16;
  IS_INVALID(face_gallery_in_memory(space, &params, &gallery));
  IS_NULL(face_gallery_in_memory(NULL, NULL, &gallery));
  IS_NULL(face_gallery_in_memory(space, NULL, NULL));
  IS_NULL(face_gallery_create(NULL, space, NULL, &gallery));
  IS_NULL(face_gallery_create(in_folder("a.face"), NULL, NULL, &gallery));
  IS_NULL(face_gallery_create(in_folder("a.face"), space, NULL, NULL));
  FAILS(face_gallery_create("\xff", space, NULL, &gallery), FACE_STATUS_INVALID_UTF8);
  FAILS(face_gallery_create(in_folder("no/such/folder.face"), space, NULL, &gallery), FACE_STATUS_NOT_FOUND);
  FAILS(face_gallery_create(photo_path, space, NULL, &gallery), FACE_STATUS_ALREADY_EXISTS);
  IS_NULL(face_gallery_open(NULL, NULL, &gallery));
  IS_NULL(face_gallery_open(photo_path, NULL, NULL));
  FAILS(face_gallery_open(in_folder("a.face"), NULL, &gallery), FACE_STATUS_NOT_FOUND);
  FAILS(face_gallery_open(photo_path, NULL, &gallery), FACE_STATUS_GALLERY_CORRUPT);
  IS_NULL(face_gallery_open_read_only(NULL, NULL, &gallery));
  IS_NULL(face_gallery_open_read_only(photo_path, NULL, NULL));
  FAILS(face_gallery_open_read_only(in_folder("a.face"), NULL, &gallery), FACE_STATUS_NOT_FOUND);
  FAILS(face_gallery_open_read_only(photo_path, NULL, &gallery), FACE_STATUS_GALLERY_CORRUPT);
  CHECK(gallery == UNTOUCHED(face_gallery_t));
  memset(&params, 0, sizeof params);
  params.struct_size = sizeof params;
  params.approximate = 1;
  params.precision = FACE_PRECISION_INT8;
  WORKS(face_gallery_in_memory(space, &params, &gallery));
  WORKS(face_gallery_save_index(gallery));
  face_gallery_free(gallery);

  face_postgres_params_t server;
  gallery = UNTOUCHED(face_gallery_t);
  memset(&server, 0, sizeof server);
  IS_NULL(face_gallery_open_postgres(NULL, &gallery));
  IS_INVALID(face_gallery_open_postgres(&server, &gallery));
  server.struct_size = sizeof server;
  IS_NULL(face_gallery_open_postgres(&server, NULL));
  IS_NULL(face_gallery_open_postgres(&server, &gallery)); /* url */
  IS_NULL(face_gallery_create_postgres(NULL, space, &gallery));
  IS_NULL(face_gallery_create_postgres(&server, NULL, &gallery));
  IS_NULL(face_gallery_create_postgres(&server, space, NULL));
  server.url = "this is no address";
  IS_INVALID(face_gallery_open_postgres(&server, &gallery));
  server.url = "postgresql://nobody:secret@127.0.0.1:1/nothing";
  server.tls = 2;
  IS_INVALID(face_gallery_open_postgres(&server, &gallery));
  server.tls = FACE_TLS_DISABLE;
  server.root_certificate = "authority.pem";
  IS_INVALID(face_gallery_open_postgres(&server, &gallery));
  server.root_certificate = NULL;
  server.hnsw = 2;
  IS_INVALID(face_gallery_open_postgres(&server, &gallery));
  server.hnsw = 1;
  server.hnsw_m = 101;
  IS_INVALID(face_gallery_create_postgres(&server, space, &gallery));
  server.hnsw = 0;
  IS_INVALID(face_gallery_create_postgres(&server, space, &gallery));
  server.hnsw_m = 0;
  server.connect_timeout_ms = 2000;
  FAILS(face_gallery_open_postgres(&server, &gallery), FACE_STATUS_GALLERY_STORE);
  CHECK(strstr(face_last_error(), "secret") == NULL);
  FAILS(face_gallery_create_postgres(&server, space, &gallery), FACE_STATUS_GALLERY_STORE);
  CHECK(gallery == UNTOUCHED(face_gallery_t));
}

static void test_gallery(void)
{
  face_gallery_t *gallery = NULL, *second = UNTOUCHED(face_gallery_t);
  face_embedding_t *one = embedding_of(photo_path), *other = embedding_of(other_path);
  face_new_template_t templates[2];
  memset(templates, 0, sizeof templates);
  templates[0].embedding = one;
  templates[0].source = "one.jpg";
  templates[0].quality = 0.75F;
  templates[0].has_quality = 1;
  templates[1].embedding = other;
  templates[1].enrolled_at = 1234567890;
  face_new_subject_t subject;
  memset(&subject, 0, sizeof subject);
  uint64_t id = 77, ids[2] = {77, 77};

  WORKS(face_gallery_create(in_folder("people.face"), face_pipeline_space(pipeline), NULL, &gallery));
  FAILS(face_gallery_open(in_folder("people.face"), NULL, &second), FACE_STATUS_GALLERY_IN_USE);
  FAILS(face_gallery_create(in_folder("people.face"), face_pipeline_space(pipeline), NULL, &second),
        FACE_STATUS_ALREADY_EXISTS);
  CHECK(second == UNTOUCHED(face_gallery_t));
  REFUSES(NULL, face_gallery_name(NULL));
  REFUSES(NULL, face_gallery_space(NULL));
  CHECK(strstr(face_gallery_name(gallery), "people.face") != NULL);
  CHECK(strcmp(face_space_id(face_gallery_space(gallery)), face_space_id(face_pipeline_space(pipeline))) == 0);

  /* Enrol. */
  IS_NULL(face_gallery_enroll(NULL, &subject, &id));
  IS_NULL(face_gallery_enroll(gallery, NULL, &id));
  IS_NULL(face_gallery_enroll(gallery, &subject, &id)); /* name */
  subject.name = "Ada";
  IS_INVALID(face_gallery_enroll(gallery, &subject, &id)); /* no template */
  subject.template_count = 1;
  IS_NULL(face_gallery_enroll(gallery, &subject, &id));
  subject.templates = templates;
  subject.name = "\xff";
  FAILS(face_gallery_enroll(gallery, &subject, &id), FACE_STATUS_INVALID_UTF8);
  subject.name = "";
  IS_INVALID(face_gallery_enroll(gallery, &subject, &id));
  subject.name = "Ada Łovelace";
  subject.metadata = "[1, 2]";
  FAILS(face_gallery_enroll(gallery, &subject, &id), FACE_STATUS_FORMAT);
  subject.metadata = "{\"team\": \"A\"}";
  templates[0].quality = 1.5F;
  IS_INVALID(face_gallery_enroll(gallery, &subject, &id));
  templates[0].quality = 0.75F;
  templates[0].has_quality = 2;
  IS_INVALID(face_gallery_enroll(gallery, &subject, &id));
  templates[0].has_quality = 1;
  subject.template_count = (size_t)-1;
  IS_INVALID(face_gallery_enroll(gallery, &subject, &id));
  subject.template_count = 1;
  CHECK(id == 77);
  WORKS(face_gallery_enroll(gallery, &subject, &id));
  CHECK(id == 1);
  FAILS(face_gallery_enroll(gallery, &subject, NULL), FACE_STATUS_NAME_TAKEN);

  face_new_subject_t batch[2] = {subject, subject};
  batch[0].name = "Ben";
  batch[0].templates = &templates[1];
  batch[0].metadata = NULL;
  batch[1].name = "Ada Łovelace";
  IS_NULL(face_gallery_enroll_batch(NULL, batch, 2, ids));
  IS_NULL(face_gallery_enroll_batch(gallery, NULL, 2, ids));
  IS_INVALID(face_gallery_enroll_batch(gallery, batch, (size_t)-1, ids));
  FAILS(face_gallery_enroll_batch(gallery, batch, 2, ids), FACE_STATUS_NAME_TAKEN);
  CHECK(ids[0] == 77);
  batch[1].name = "Cleo";
  WORKS(face_gallery_enroll_batch(gallery, batch, 2, ids));
  CHECK(ids[0] == 2 && ids[1] == 3);
  WORKS(face_gallery_enroll_batch(gallery, NULL, 0, NULL));

  IS_NULL(face_gallery_add_templates(NULL, 1, templates, 2, ids));
  IS_NULL(face_gallery_add_templates(gallery, 1, NULL, 2, ids));
  IS_INVALID(face_gallery_add_templates(gallery, 1, templates, 0, ids));
  FAILS(face_gallery_add_templates(gallery, 99, templates, 2, ids), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_add_templates(gallery, 3, templates, 1, ids));
  CHECK(ids[0] == 4);

  uint64_t subjects_counted = 0, templates_counted = 0;
  IS_NULL(face_gallery_count(NULL, &subjects_counted, &templates_counted));
  WORKS(face_gallery_count(gallery, NULL, NULL));
  WORKS(face_gallery_count(gallery, &subjects_counted, &templates_counted));
  CHECK(subjects_counted == 3 && templates_counted == 4);

  IS_NULL(face_gallery_count_matching(NULL, NULL, 0, NULL, &subjects_counted, &templates_counted));
  IS_INVALID(face_gallery_count_matching(gallery, NULL, 1, NULL, &subjects_counted, &templates_counted));
  FAILS(face_gallery_count_matching(gallery, NULL, 0, "[", &subjects_counted, &templates_counted), FACE_STATUS_FORMAT);
  CHECK(subjects_counted == 3 && templates_counted == 4);
  WORKS(face_gallery_count_matching(gallery, NULL, 0, NULL, NULL, NULL));
  WORKS(face_gallery_count_matching(gallery, ids, 1, "{\"team\": \"A\"}", &subjects_counted, &templates_counted));
  CHECK(subjects_counted == 0 && templates_counted == 0);
  WORKS(face_gallery_count_matching(gallery, NULL, 0, "{\"team\": \"A\"}", &subjects_counted, &templates_counted));
  CHECK(subjects_counted == 2 && templates_counted == 3);
  size_t records = 0, vectors = 0, graph = 1;
  IS_NULL(face_gallery_memory_use(NULL, &records, &vectors, &graph));
  WORKS(face_gallery_memory_use(gallery, NULL, NULL, NULL));
  WORKS(face_gallery_memory_use(gallery, &records, &vectors, &graph));
  CHECK(records > 0 && vectors >= 4 * 128 * sizeof(float) && graph == 0);

  /* Look up. */
  face_subjects_t *people = UNTOUCHED(face_subjects_t);
  IS_NULL(face_gallery_list(NULL, 0, 0, &people));
  IS_NULL(face_gallery_list(gallery, 0, 0, NULL));
  IS_INVALID(face_gallery_list(gallery, 0, 10001, &people));
  IS_NULL(face_gallery_find(NULL, "Ada", &people));
  IS_NULL(face_gallery_find(gallery, NULL, &people));
  IS_NULL(face_gallery_find(gallery, "Ada", NULL));
  IS_NULL(face_gallery_subject(NULL, 1, &people));
  IS_NULL(face_gallery_subject(gallery, 1, NULL));
  FAILS(face_gallery_subject(gallery, 99, &people), FACE_STATUS_NOT_ENROLLED);
  CHECK(people == UNTOUCHED(face_subjects_t));
  WORKS(face_gallery_find(gallery, "nobody", &people));
  CHECK(face_subjects_count(people) == 0);
  face_subjects_free(people);
  WORKS(face_gallery_list(gallery, 1, 1, &people));
  CHECK(face_subjects_count(people) == 1 && face_subjects_id(people, 0) == 2);
  face_subjects_free(people);
  WORKS(face_gallery_subject(gallery, 1, &people));
  face_template_t known;
  REFUSES((size_t)0, face_subjects_count(NULL));
  REFUSES((uint64_t)0, face_subjects_id(NULL, 0));
  REFUSES((uint64_t)0, face_subjects_id(people, 1));
  REFUSES(NULL, face_subjects_name(NULL, 0));
  REFUSES(NULL, face_subjects_name(people, 1));
  REFUSES(NULL, face_subjects_metadata(NULL, 0));
  REFUSES(NULL, face_subjects_metadata(people, 1));
  REFUSES((size_t)0, face_subjects_template_count(NULL, 0));
  REFUSES((size_t)0, face_subjects_template_count(people, 1));
  IS_NULL(face_subjects_template(NULL, 0, 0, &known));
  IS_NULL(face_subjects_template(people, 0, 0, NULL));
  IS_INVALID(face_subjects_template(people, 1, 0, &known));
  IS_INVALID(face_subjects_template(people, 0, 1, &known));
  CHECK(strcmp(face_subjects_name(people, 0), "Ada Łovelace") == 0);
  CHECK(strcmp(face_subjects_metadata(people, 0), "{\"team\":\"A\"}") == 0);
  CHECK(face_subjects_template_count(people, 0) == 1);
  WORKS(face_subjects_template(people, 0, 0, &known));
  CHECK(known.id == 1 && known.quality == 0.75F && strcmp(known.source, "one.jpg") == 0);
  CHECK(known.enrolled_at > 1700000000);
  face_subjects_free(people);
  WORKS(face_gallery_subject(gallery, 2, &people));
  WORKS(face_subjects_template(people, 0, 0, &known));
  CHECK(known.enrolled_at == 1234567890 && known.quality < 0.0F && known.source == NULL);
  face_subjects_free(people);

  face_embedding_t *kept = UNTOUCHED(face_embedding_t);
  IS_NULL(face_gallery_embedding(NULL, 1, &kept));
  IS_NULL(face_gallery_embedding(gallery, 1, NULL));
  FAILS(face_gallery_embedding(gallery, 99, &kept), FACE_STATUS_NOT_ENROLLED);
  CHECK(kept == UNTOUCHED(face_embedding_t));
  WORKS(face_gallery_embedding(gallery, 1, &kept));
  CHECK(memcmp(face_embedding_values(kept), face_embedding_values(one), 128 * sizeof(float)) == 0);
  face_embedding_free(kept);

  /* Change. */
  IS_NULL(face_gallery_rename(NULL, 3, "Dora"));
  IS_NULL(face_gallery_rename(gallery, 3, NULL));
  FAILS(face_gallery_rename(gallery, 3, "Ben"), FACE_STATUS_NAME_TAKEN);
  FAILS(face_gallery_rename(gallery, 99, "Dora"), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_rename(gallery, 3, "Dora"));
  IS_NULL(face_gallery_set_metadata(NULL, 3, "{}"));
  FAILS(face_gallery_set_metadata(gallery, 3, "{"), FACE_STATUS_FORMAT);
  FAILS(face_gallery_set_metadata(gallery, 99, "{}"), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_set_metadata(gallery, 3, NULL));
  face_threshold_t threshold;
  WORKS(face_space_threshold_at(face_gallery_space(gallery), 1e-3, &threshold));
  IS_NULL(face_gallery_set_thresholds(NULL, &threshold, 1));
  IS_NULL(face_gallery_set_thresholds(gallery, NULL, 1));
  face_threshold_t never = threshold;
  never.similarity = (float)(1e38 * 1e3);
  IS_INVALID(face_gallery_set_thresholds(gallery, &never, 1));
  WORKS(face_gallery_set_thresholds(gallery, &threshold, 1));

  /* Who is it? */
  const face_embedding_t *probes[2] = {one, NULL};
  face_identifications_t *answers = UNTOUCHED(face_identifications_t);
  face_identify_params_t params;
  memset(&params, 0, sizeof params);
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.struct_size = sizeof params;
  IS_NULL(face_gallery_identify(NULL, probes, 1, &params, &answers));
  IS_NULL(face_gallery_identify(gallery, NULL, 1, &params, &answers));
  IS_NULL(face_gallery_identify(gallery, probes, 2, &params, &answers));
  IS_NULL(face_gallery_identify(gallery, probes, 1, &params, NULL));
  params.decision = 4;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.decision = FACE_DECISION_THRESHOLD;
  IS_NULL(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.decision = FACE_DECISION_FAR;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers)); /* rate 0 */
  params.threshold = &threshold;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers)); /* and not FACE_DECISION_THRESHOLD */
  params.threshold = NULL;
  params.rate = 0.123;
  FAILS(face_gallery_identify(gallery, probes, 1, &params, &answers), FACE_STATUS_THRESHOLD_UNKNOWN);
  params.rate = 0.0;
  params.decision = FACE_DECISION_GALLERY_SIZE;
  params.mode = FACE_SEARCH_APPROXIMATE;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.mode = 3;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.mode = FACE_SEARCH_EXACT;
  params.top_k = 10001;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.top_k = 2;
  params.subject_count = 1;
  IS_INVALID(face_gallery_identify(gallery, probes, 1, &params, &answers));
  params.subject_count = 0;
  params.metadata = "no JSON";
  FAILS(face_gallery_identify(gallery, probes, 1, &params, &answers), FACE_STATUS_FORMAT);
  CHECK(answers == UNTOUCHED(face_identifications_t));
  params.metadata = "{\"team\": \"A\"}";
  WORKS(face_gallery_identify(gallery, probes, 1, &params, &answers));
  CHECK(face_identifications_candidate_count(answers, 0) == 1);
  face_identifications_free(answers);
  params.metadata = NULL;
  const uint64_t only[1] = {2};
  params.subjects = only;
  params.subject_count = 1;
  WORKS(face_gallery_identify(gallery, probes, 1, &params, &answers));
  CHECK(face_identifications_candidate_count(answers, 0) == 1 && !face_identifications_is_match(answers, 0));
  face_identifications_free(answers);
  params.subjects = NULL;
  params.subject_count = 0;
  WORKS(face_gallery_identify(gallery, probes, 1, &params, &answers));
  REFUSES((size_t)0, face_identifications_count(NULL));
  REFUSES(false, face_identifications_is_match(NULL, 0));
  REFUSES(false, face_identifications_is_match(answers, 1));
  REFUSES((size_t)0, face_identifications_candidate_count(NULL, 0));
  REFUSES((size_t)0, face_identifications_candidate_count(answers, 1));
  face_candidate_t candidate;
  double fpir = 0.0;
  IS_NULL(face_identifications_candidate(NULL, 0, 0, &candidate));
  IS_NULL(face_identifications_candidate(answers, 0, 0, NULL));
  IS_INVALID(face_identifications_candidate(answers, 1, 0, &candidate));
  IS_INVALID(face_identifications_candidate(answers, 0, 2, &candidate));
  IS_NULL(face_identifications_threshold(NULL, 0, &threshold, NULL, NULL));
  IS_NULL(face_identifications_threshold(answers, 0, NULL, NULL, NULL));
  IS_INVALID(face_identifications_threshold(answers, 1, &threshold, NULL, NULL));
  CHECK(face_identifications_count(answers) == 1 && face_identifications_is_match(answers, 0));
  CHECK(face_identifications_candidate_count(answers, 0) == 2);
  WORKS(face_identifications_candidate(answers, 0, 0, &candidate));
  CHECK(candidate.subject == 1 && candidate.template_id == 1 && strcmp(candidate.name, "Ada Łovelace") == 0);
  WORKS(face_identifications_threshold(answers, 0, &threshold, &templates_counted, &fpir));
  CHECK(templates_counted == 4 && fpir > 0.0 && fpir <= 1e-2);
  face_identifications_free(answers);

  face_candidates_t *candidates = UNTOUCHED(face_candidates_t);
  face_search_params_t search;
  memset(&search, 0, sizeof search);
  search.struct_size = sizeof search;
  IS_NULL(face_gallery_search(NULL, probes, 1, &search, &candidates));
  IS_NULL(face_gallery_search(gallery, NULL, 1, &search, &candidates));
  IS_NULL(face_gallery_search(gallery, probes, 1, &search, NULL));
  search.reserved = 1;
  IS_INVALID(face_gallery_search(gallery, probes, 1, &search, &candidates));
  search.reserved = 0;
  search.mode = 3;
  IS_INVALID(face_gallery_search(gallery, probes, 1, &search, &candidates));
  search.mode = 0;
  search.subject_count = 1;
  IS_INVALID(face_gallery_search(gallery, probes, 1, &search, &candidates));
  search.subject_count = 0;
  CHECK(candidates == UNTOUCHED(face_candidates_t));
  search.min_similarity = &threshold.similarity;
  WORKS(face_gallery_search(gallery, probes, 1, &search, &candidates));
  REFUSES((size_t)0, face_candidates_count(NULL, 0));
  REFUSES((size_t)0, face_candidates_count(candidates, 1));
  IS_NULL(face_candidates_get(NULL, 0, 0, &candidate));
  IS_NULL(face_candidates_get(candidates, 0, 0, NULL));
  IS_INVALID(face_candidates_get(candidates, 1, 0, &candidate));
  IS_INVALID(face_candidates_get(candidates, 0, 2, &candidate));
  CHECK(face_candidates_count(candidates, 0) == 2);
  WORKS(face_candidates_get(candidates, 0, 1, &candidate));
  CHECK(candidate.subject == 3 && strcmp(candidate.name, "Dora") == 0);
  face_candidates_free(candidates);

  face_duplicates_t *duplicates = UNTOUCHED(face_duplicates_t);
  face_duplicate_t pair;
  IS_NULL(face_gallery_duplicates(NULL, threshold.similarity, &duplicates));
  IS_NULL(face_gallery_duplicates(gallery, threshold.similarity, NULL));
  IS_INVALID(face_gallery_duplicates(gallery, (float)(1e38 * 1e3) * 0.0F, &duplicates));
  CHECK(duplicates == UNTOUCHED(face_duplicates_t));
  WORKS(face_gallery_duplicates(gallery, threshold.similarity, &duplicates));
  REFUSES((size_t)0, face_duplicates_count(NULL));
  CHECK(face_duplicates_count(duplicates) == 1);
  IS_NULL(face_duplicates_get(NULL, 0, &pair));
  IS_NULL(face_duplicates_get(duplicates, 0, NULL));
  IS_INVALID(face_duplicates_get(duplicates, 1, &pair));
  WORKS(face_duplicates_get(duplicates, 0, &pair));
  CHECK(pair.first == 1 && pair.second == 3);
  face_duplicates_free(duplicates);

  /* Out and in again. */
  IS_NULL(face_gallery_export(NULL, in_folder("people.jsonl")));
  IS_NULL(face_gallery_export(gallery, NULL));
  IS_INVALID(face_gallery_export(gallery, in_folder("people.face")));
  FAILS(face_gallery_export(gallery, in_folder("no/such/folder.jsonl")), FACE_STATUS_NOT_FOUND);
  WORKS(face_gallery_export(gallery, in_folder("people.jsonl")));
  face_space_t *space = UNTOUCHED(face_space_t);
  IS_NULL(face_export_space(NULL, &space));
  IS_NULL(face_export_space(in_folder("people.jsonl"), NULL));
  FAILS(face_export_space(in_folder("nothing.jsonl"), &space), FACE_STATUS_NOT_FOUND);
  FAILS(face_export_space(photo_path, &space), FACE_STATUS_FORMAT);
  CHECK(space == UNTOUCHED(face_space_t));
  WORKS(face_export_space(in_folder("people.jsonl"), &space));
  WORKS(face_gallery_in_memory(space, NULL, &second));
  face_space_free(space);
  face_import_report_t report;
  IS_NULL(face_gallery_import(NULL, in_folder("people.jsonl"), 0, &report));
  IS_NULL(face_gallery_import(second, NULL, 0, &report));
  IS_INVALID(face_gallery_import(second, in_folder("people.jsonl"), 2, &report));
  FAILS(face_gallery_import(second, in_folder("nothing.jsonl"), 0, &report), FACE_STATUS_NOT_FOUND);
  WORKS(face_gallery_import(second, in_folder("people.jsonl"), 0, &report));
  CHECK(report.subjects == 3 && report.templates == 4 && report.skipped == 0 && report.existing == 0);
  FAILS(face_gallery_import(second, in_folder("people.jsonl"), 0, NULL), FACE_STATUS_NAME_TAKEN);
  WORKS(face_gallery_import(second, in_folder("people.jsonl"), 1, &report));
  CHECK(report.subjects == 0 && report.existing == 3);
  face_gallery_free(second);

  /* Remove, and forget. */
  IS_NULL(face_gallery_remove_template(NULL, 4));
  FAILS(face_gallery_remove_template(gallery, 99), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_remove_template(gallery, 4));
  IS_NULL(face_gallery_remove_subject(NULL, 2));
  FAILS(face_gallery_remove_subject(gallery, 99), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_remove_subject(gallery, 2));
  IS_NULL(face_gallery_compact(NULL));
  WORKS(face_gallery_compact(gallery));
  IS_NULL(face_gallery_save_index(NULL));
  WORKS(face_gallery_save_index(gallery));
  face_gallery_free(gallery);

  WORKS(face_gallery_open_read_only(in_folder("people.face"), NULL, &gallery));
  WORKS(face_gallery_count(gallery, &subjects_counted, &templates_counted));
  CHECK(subjects_counted == 2 && templates_counted == 2);
  CHECK(face_space_threshold_count(face_gallery_space(gallery)) == 1);
  FAILS(face_gallery_remove_subject(gallery, 1), FACE_STATUS_GALLERY_READ_ONLY);
  FAILS(face_gallery_compact(gallery), FACE_STATUS_GALLERY_READ_ONLY);
  face_gallery_free(gallery);
  face_gallery_params_t approximate;
  memset(&approximate, 0, sizeof approximate);
  approximate.struct_size = sizeof approximate;
  approximate.approximate = 1;
  WORKS(face_gallery_open(in_folder("people.face"), &approximate, &gallery));
  params.mode = FACE_SEARCH_APPROXIMATE;
  WORKS(face_gallery_identify(gallery, probes, 1, &params, &answers));
  CHECK(face_identifications_is_match(answers, 0));
  face_identifications_free(answers);
  face_gallery_free(gallery);

  face_embedding_free(other);
  face_embedding_free(one);
}

int main(int argc, char **argv)
{
  if (argc != 4) {
    fprintf(stderr, "usage: %s FOLDER PHOTO OTHER_PERSON\n", argv[0]);
    return 2;
  }
  folder = argv[1];
  photo_path = argv[2];
  other_path = argv[3];
  test_version();
  test_free_null();
  WORKS(face_pipeline_open(NULL, &pipeline));
  WORKS(face_image_open(photo_path, NULL, &photo));
  WORKS(face_image_view(photo, &pixels));
  test_images();
  test_views();
  test_models();
  test_pull();
  test_pipeline_params();
  test_stages();
  test_analysis();
  test_threads();
  test_stream();
  test_embeddings();
  test_gallery_params();
  test_gallery();
  face_image_free(photo);
  face_pipeline_free(pipeline);
  printf("%lu checks\n", checks_made);
  return 0;
}
