// face.hpp: what it wraps works, and what fails throws.
//
//   test FOLDER PHOTO OTHER_PERSON
#include <cstring>
#include <face.hpp>
#include <iostream>

static unsigned long checks_made = 0;

#define CHECK(condition) \
  do { \
    checks_made++; \
    if (!(condition)) { \
      std::cerr << __FILE__ << ':' << __LINE__ << ": " << #condition << '\n'; \
      std::exit(1); \
    } \
  } while (0)

template <class Work> static void throws(face_status_t expected, Work work)
{
  try {
    work();
  } catch (const face::Error &error) {
    CHECK(error.status() == expected);
    CHECK(std::strlen(error.what()) > 10);
    return;
  }
  CHECK(!"it throws");
}

// Whether an expression compiles.
#define CAN(name, ...) \
  template <class T> static constexpr auto can_##name(int) -> decltype((void)(__VA_ARGS__), true) { return true; } \
  template <class T> static constexpr bool can_##name(long) { return false; }

CAN(view, std::declval<T>().view())
CAN(space, std::declval<T>().space())
CAN(largest, std::declval<T>().largest())
CAN(best_match, std::declval<T>().best_match())
CAN(lend, std::declval<T>().lend())

static std::vector<float> values(const face::Embedding &embedding) { return embedding.values(); }

int main(int argc, char **argv)
{
  if (argc != 4)
    return 2;
  const std::string folder = argv[1], photo_path = argv[2], other_path = argv[3];
  const face::Pipeline pipeline;
  const face::Image photo = face::Image::open(photo_path);

  throws(FACE_STATUS_NOT_FOUND, [&] { face::Image::open(folder + "/nothing.jpg"); });
  throws(FACE_STATUS_IMAGE_DECODE, [&] { face::Image::decode(nullptr, 0); });
  throws(FACE_STATUS_IMAGE_BUFFER, [&] { face::Image::copy(face::pixels(photo.view().data, 0, 0)); });
  throws(FACE_STATUS_UNKNOWN_NAME, [&] {
    face_pipeline_params_t params{};
    params.detector = "no-such-model";
    face::Pipeline{params};
  });
  const face::Image copied = face::Image::copy(photo);
  CHECK(copied.view().width == photo.view().width);

  // Stage by stage, and all of them.
  const std::vector<face::Detection> found = pipeline.detect(photo);
  CHECK(found.size() == 1);
  const face::Landmarks landmarks = pipeline.align(photo, found[0]);
  const face::Crop crop = pipeline.normalize(photo, landmarks);
  CHECK(crop.count() >= 1 && crop.view().width == 150 && crop.transform()[0] == crop.transform()[4]);
  const face::Embedding one = pipeline.embed(crop);
  const face::Analysis analysis = pipeline.analyze(photo);
  CHECK(analysis.faces().size() == 1 && analysis.rejected().empty() && analysis.largest() == &analysis.faces()[0]);
  CHECK(values(analysis.faces()[0].embedding) == values(one));
  CHECK(values(pipeline.embed(pipeline.aligned_crop({crop.view()}))) == values(one));
  for (const face::Face &face : pipeline.analyze(photo).faces())
    CHECK(values(face.embedding) == values(one));
  const face::Embedding other = pipeline.analyze_largest(face::Image::open(other_path)).embedding;
  throws(FACE_STATUS_CROP_MISMATCH, [&] { (void)pipeline.aligned_crop({photo}); });
  face::draw(photo, found).save(folder + "/drawn.png");
  const face::Image drawn = face::Image::open(folder + "/drawn.png");
  CHECK(drawn.view().height == photo.view().height);

  static const unsigned char black[64 * 64] = {};
  const face::Pixels nobody = face::pixels(black, 64, 64, FACE_PIXEL_GRAY8);
  throws(FACE_STATUS_NO_FACE, [&] { (void)pipeline.analyze_largest(nobody); });
  const std::vector<face::BatchItem> batch =
      pipeline.analyze_batch({photo, nobody, face::pixels(nullptr, 64, 64)});
  CHECK(batch.size() == 3 && batch[0].analysis && batch[0].analysis->faces().size() == 1);
  CHECK(batch[1].analysis && batch[1].analysis->largest() == nullptr);
  CHECK(!batch[2].analysis && batch[2].error->status() == FACE_STATUS_NULL_POINTER);

  face_stream_params_t params{};
  params.ahead = 3;
  face::Stream stream = pipeline.stream(params);
  throws(FACE_STATUS_INVALID_ARGUMENT, [&] { (void)stream.take(); });
  stream.push(photo);
  stream.push_file("missing.jpg");
  stream.push_file(photo_path);
  CHECK(!stream.has_room() && stream.waiting() == 3);
  throws(FACE_STATUS_INVALID_ARGUMENT, [&] { stream.push(photo); });
  CHECK(values(stream.take().analysis->largest()->embedding) == values(one));
  const face::BatchItem missing = stream.take();
  CHECK(!missing.analysis && missing.error->status() == FACE_STATUS_NOT_FOUND);
  const face::Stream other_stream = std::move(stream);
  CHECK(values(other_stream.take().analysis->largest()->embedding) == values(one));
  other_stream.push_bytes({0, 1, 2});
  CHECK(other_stream.take().error->status() == FACE_STATUS_IMAGE_DECODE && other_stream.waiting() == 0);
  face::set_threads(2);
  throws(FACE_STATUS_INVALID_ARGUMENT, [] { face::set_threads(5000); });

  const face::Face alone = pipeline.embed_detection(photo, found[0]);
  CHECK(values(alone.embedding) == values(one));

  // What would dangle does not compile; what is gone says so.
  static_assert(!can_view<face::Image>(0) && can_view<const face::Image &>(0));
  static_assert(!can_space<face::Pipeline>(0) && can_space<const face::Pipeline &>(0));
  static_assert(!can_space<face::Gallery>(0) && can_space<const face::Gallery &>(0));
  static_assert(!can_largest<face::Analysis>(0) && can_largest<const face::Analysis &>(0));
  static_assert(!can_best_match<face::Identification>(0) && can_best_match<const face::Identification &>(0));
  static_assert(!can_lend<face::Threshold>(0) && can_lend<const face::Threshold &>(0));
  face::Space left = one.space(), taken = std::move(left);
  throws(FACE_STATUS_NULL_POINTER, [&] { (void)left.id(); });
  CHECK(taken.id() == one.space().id());

  // Models.
  std::size_t defaults = 0;
  for (const face::Model &model : face::models())
    defaults += model.is_default && model.is_present && !model.licence.empty();
  CHECK(defaults >= 2);
  face::check_model("centerface");
  face::pull_models();
  throws(FACE_STATUS_UNKNOWN_NAME, [] { face::pull_models({"no-such-model"}); });
  throws(FACE_STATUS_MODEL_MISSING, [&] { face::check_model("centerface", folder); });

  // Embeddings: copies, moves, spaces.
  face::Embedding copy = one, moved = std::move(copy);
  copy = other;
  CHECK(values(moved) == values(one) && values(copy) == values(other));
  const face::Space space = pipeline.space(), own = one.space();
  CHECK(space.id() == own.id() && space.dimension() == one.size() && !space.model().empty());
  CHECK(!space.thresholds().empty());
  const face::Threshold threshold = space.threshold_at(1e-3);
  throws(FACE_STATUS_THRESHOLD_UNKNOWN, [&] { (void)space.threshold_at(0.123); });
  CHECK(face::verify(one, one, threshold) && !face::verify(one, other, threshold));
  CHECK(one.similarity(one) > one.similarity(other));
  throws(FACE_STATUS_INVALID_EMBEDDING, [&] { face::Embedding(space, {1.0F}); });
  const face::Embedding again(space, values(one));
  CHECK(face::cluster({one, other, again}, threshold.similarity) == (std::vector<std::size_t>{0, 1, 0}));
  CHECK(face::cluster({}, threshold.similarity).empty());

  // Galleries.
  const std::string path = folder + "/cpp.face";
  {
    face::Gallery gallery = face::Gallery::create(path, space);
    throws(FACE_STATUS_GALLERY_IN_USE, [&] { face::Gallery::open(path); });
    const std::uint64_t ada = gallery.enroll("Ada", {{one, "one.jpg", 0.9F}, {again}}, R"({"team": "A"})");
    throws(FACE_STATUS_NAME_TAKEN, [&] { gallery.enroll("Ada", {{one}}); });
    throws(FACE_STATUS_INVALID_ARGUMENT, [&] { gallery.enroll(std::string("Ada\0Bob", 7), {{one}}); });
    CHECK(gallery.count_matching(R"({"team": "A"})").first == 1);
    gallery.enroll("Ben", {{other}});
    CHECK(gallery.add_templates(ada, {{one}}).size() == 1);
    CHECK(gallery.count().first == 2 && gallery.count().second == 4);
    CHECK(gallery.space().id() == space.id() && gallery.name().find("cpp.face") != std::string::npos);
    const std::optional<face::Subject> subject = gallery.find("Ada");
    CHECK(subject && subject->metadata == R"({"team":"A"})" && subject->templates.size() == 3);
    CHECK(*subject->templates[0].source == "one.jpg" && *subject->templates[0].quality == 0.9F);
    CHECK(!subject->templates[1].source && !subject->templates[1].quality);
    CHECK(!gallery.find("Cleo") && gallery.list().size() == 2 && gallery.list(ada, 10).size() == 1);
    CHECK(values(gallery.embedding(subject->templates[0].id)) == values(one));
    const face::Identification answer = gallery.identify(one);
    CHECK(answer.best_match() && answer.best_match()->name == "Ada" && answer.templates == 4 && answer.candidates.size() == 2);
    face_identify_params_t params{};
    params.metadata = R"({"team": "B"})";
    const face::Identification nobody_there = gallery.identify(one, params);
    CHECK(nobody_there.best_match() == nullptr);
    CHECK(gallery.search(one).size() == 2);
    CHECK(gallery.duplicates(threshold.similarity).empty());
    gallery.rename(ada, "Ada L.");
    gallery.set_metadata(ada, "{}");
    gallery.set_thresholds({threshold});
    gallery.remove_template(subject->templates[2].id);
    gallery.export_to(folder + "/cpp.jsonl");
    gallery.remove_subject(ada);
    gallery.compact();
    gallery.save_index();
  }
  const face::Gallery reader = face::Gallery::open_read_only(path);
  CHECK(reader.list().size() == 1);
  face::Gallery memory = face::Gallery::in_memory(face::Space::of_export(folder + "/cpp.jsonl"));
  CHECK(memory.import_from(folder + "/cpp.jsonl").subjects == 2);
  CHECK(memory.import_from(folder + "/cpp.jsonl", true).existing == 2);
  CHECK(memory.subject(1).name == "Ada L.");
  face_postgres_params_t server{};
  server.url = "postgresql://nobody@127.0.0.1:1/nothing";
  server.tls = FACE_TLS_DISABLE;
  server.connect_timeout_ms = 1000;
  throws(FACE_STATUS_GALLERY_STORE, [&] { face::Gallery::open_postgres(server); });
  std::cout << checks_made << " checks\n";
  return 0;
}
