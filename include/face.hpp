// face.hpp: libface for C++17. Objects free themselves, and failures are exceptions (face::Error).
//
//   face::Pipeline pipeline;
//   for (const face::Face &person : pipeline.analyze(face::Image::open("photo.jpg")).faces())
//     std::cout << person.detection.score << '\n';
//
// Everything is in this header, on top of face.h, whose conventions hold: objects may be used by many threads at the same time,
// coordinates are pixels with the centre of the top-left one at (0, 0), text is UTF-8. Objects can be moved, and not copied, apart
// from embeddings and the plain structs. `get()` gives the C object behind each, for what is not wrapped here.
#ifndef FACE_HPP
#define FACE_HPP

#include <face.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace face {

/// What went wrong. `what()` names the function, the argument or file, and often what to do.
class Error : public std::runtime_error {
public:
  Error(face_status_t status, const std::string &message) : std::runtime_error(message), status_(status) {}
  face_status_t status() const noexcept { return status_; }

private:
  face_status_t status_;
};

namespace detail {

inline void check(face_status_t status)
{
  if (status != FACE_STATUS_OK)
    throw Error(status, face_last_error());
}

template <auto Free> struct Deleter {
  template <class T> void operator()(T *object) const noexcept { Free(object); }
};

template <class T, auto Free> using Owned = std::unique_ptr<T, Deleter<Free>>;

/// Calls a function that gives an object through its last parameter.
template <class Handle, class Function, class... Arguments> Handle make(Function function, Arguments... arguments)
{
  typename Handle::pointer object = nullptr;
  check(function(arguments..., &object));
  return Handle(object);
}

/// Text for C, which would end it at the first NUL.
inline const char *text(const std::string &value)
{
  if (value.find('\0') != std::string::npos)
    throw Error(FACE_STATUS_INVALID_ARGUMENT, "a text holds a NUL character");
  return value.c_str();
}

/// Text that may be left out.
inline const char *text(const std::optional<std::string> &value) { return value ? text(*value) : nullptr; }

/// Text from C; NULL after a failure, such as that of an object that was moved away.
inline std::string copied(const char *value)
{
  if (value == nullptr)
    throw Error(FACE_STATUS_NULL_POINTER, face_last_error());
  return value;
}

/// What is left out is NULL.
inline std::optional<std::string> optional(const char *value)
{
  return value ? std::optional<std::string>(value) : std::nullopt;
}

} // namespace detail

using Box = face_box_t;
using Point = face_point_t;
using Landmarks = face_landmarks_t;
using Detection = face_detection_t;
using Pixels = face_image_view_t;

/// A view of pixels of your own; nothing is copied. A stride of 0 means rows without gaps.
inline Pixels pixels(const std::uint8_t *data, std::uint32_t width, std::uint32_t height,
                     face_pixel_format_t format = FACE_PIXEL_RGB8, std::size_t stride = 0)
{
  return Pixels{data, stride, width, height, static_cast<std::uint32_t>(format)};
}

/// A similarity from which two faces count as the same person's, and what that costs.
struct Threshold {
  float similarity;
  double far;
  std::string measured_on;

  explicit Threshold(const face_threshold_t &other)
      : similarity(other.similarity), far(other.far), measured_on(other.measured_on ? other.measured_on : "")
  {
  }
  Threshold(float similarity_, double far_, std::string measured_on_)
      : similarity(similarity_), far(far_), measured_on(std::move(measured_on_))
  {
  }
  /// For C; it needs this threshold.
  face_threshold_t lend() const & { return face_threshold_t{far, detail::text(measured_on), similarity}; }
  face_threshold_t lend() const && = delete;
};

/// One entry of the catalogue of models.
struct Model {
  std::string name, role, licence, summary, path;
  std::uint64_t bytes;
  bool is_default, is_present;
};

/// What the catalogue knows, as it lies in a folder; without one, in that of FACE_MODELS or the platform's cache.
inline std::vector<Model> models(const std::optional<std::string> &folder = std::nullopt)
{
  using Models = detail::Owned<face_models_t, face_models_free>;
  const Models listed = detail::make<Models>(face_models_list, detail::text(folder));
  std::vector<Model> all;
  for (std::size_t i = 0; i < face_models_count(listed.get()); i++) {
    face_model_t model{};
    detail::check(face_models_get(listed.get(), i, &model));
    all.push_back(Model{model.name, model.role, model.licence, model.summary, model.path, model.bytes, model.is_default,
                        model.is_present});
  }
  return all;
}

/// Checks size and SHA-256 of a model.
inline void check_model(const std::string &name, const std::optional<std::string> &folder = std::nullopt)
{
  detail::check(face_models_check(detail::text(folder), detail::text(name)));
}

/// Brings models into the folder; no names stand for the default ones.
inline void pull_models(const std::vector<std::string> &names = {}, const std::optional<std::string> &folder = std::nullopt,
                        face_pull_progress_t progress = nullptr, void *user = nullptr)
{
  std::vector<const char *> lent;
  for (const std::string &name : names)
    lent.push_back(detail::text(name));
  detail::check(face_models_pull(detail::text(folder), lent.data(), lent.size(), progress, user));
}

/// A photo in memory, 8-bit RGB.
class Image {
public:
  static Image open(const std::string &path, const face_image_limits_t *limits = nullptr)
  {
    return Image(detail::make<Handle>(face_image_open, detail::text(path), limits));
  }
  static Image decode(const std::uint8_t *bytes, std::size_t length, const face_image_limits_t *limits = nullptr)
  {
    return Image(detail::make<Handle>(face_image_decode, bytes, length, limits));
  }
  static Image copy(const Pixels &view) { return Image(detail::make<Handle>(face_image_copy, &view)); }

  /// The pixels, lent as long as the image lives.
  Pixels view() const &
  {
    Pixels view{};
    detail::check(face_image_view(get(), &view));
    return view;
  }
  Pixels view() const && = delete;
  /// So that an image can be handed to a call, also one that lives no longer than that. Keep the image where you keep the pixels.
  operator Pixels() const { return view(); }
  void save(const std::string &path) const { detail::check(face_image_save(get(), detail::text(path))); }
  const face_image_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_image_t, face_image_free>;
  explicit Image(Handle handle) : handle_(std::move(handle)) {}
  friend Image draw(const Pixels &, const std::vector<Detection> &);
  Handle handle_;
};

/// A copy of the picture with boxes, landmarks and scores.
inline Image draw(const Pixels &view, const std::vector<Detection> &detections)
{
  return Image(detail::make<Image::Handle>(face_draw_detections, &view, detections.data(), detections.size()));
}

/// What embeddings mean: model, preprocessing and metric, with the thresholds that were measured for them.
class Space {
public:
  std::string id() const { return detail::copied(face_space_id(get())); }
  std::string model() const { return detail::copied(face_space_model(get())); }
  std::size_t dimension() const noexcept { return face_space_dimension(get()); }
  face_metric_t metric() const noexcept { return face_space_metric(get()); }

  std::vector<Threshold> thresholds() const
  {
    std::vector<Threshold> all;
    for (std::size_t i = 0; i < face_space_threshold_count(get()); i++) {
      face_threshold_t threshold{};
      detail::check(face_space_threshold(get(), i, &threshold));
      all.emplace_back(threshold);
    }
    return all;
  }
  /// The threshold measured at a false-accept rate, such as 1e-3.
  Threshold threshold_at(double far) const
  {
    face_threshold_t threshold{};
    detail::check(face_space_threshold_at(get(), far, &threshold));
    return Threshold(threshold);
  }
  /// The space of an export of a gallery.
  static Space of_export(const std::string &path)
  {
    return Space(detail::make<Handle>(face_export_space, detail::text(path)));
  }
  const face_space_t *get() const noexcept { return owned_ ? owned_.get() : lent_; }

private:
  using Handle = detail::Owned<face_space_t, face_space_free>;
  explicit Space(Handle owned) : owned_(std::move(owned)) {}
  explicit Space(const face_space_t *lent) : lent_(lent) {}
  friend class Embedding;
  friend class Pipeline;
  friend class Gallery;
  Handle owned_;
  const face_space_t *lent_ = nullptr;
};

/// The answer to "same person?".
struct Verification {
  bool is_match;
  float similarity;
  Threshold threshold;
  explicit operator bool() const noexcept { return is_match; }
};

/// The feature vector of a face.
class Embedding {
public:
  Embedding(const Space &space, const std::vector<float> &values)
      : handle_(detail::make<Handle>(face_embedding_new, space.get(), values.data(), values.size()))
  {
  }
  /// A copy of a C object, which may be lent.
  explicit Embedding(const face_embedding_t *other) : handle_(detail::make<Handle>(face_embedding_clone, other)) {}
  Embedding(const Embedding &other) : Embedding(other.get()) {}
  Embedding(Embedding &&) noexcept = default;
  Embedding &operator=(Embedding other) noexcept
  {
    handle_.swap(other.handle_);
    return *this;
  }
  ~Embedding() = default;

  const float *data() const noexcept { return face_embedding_values(get()); }
  std::size_t size() const noexcept { return face_embedding_dimension(get()); }
  std::vector<float> values() const { return std::vector<float>(data(), data() + size()); }
  Space space() const { return Space(detail::make<Space::Handle>(face_embedding_space, get())); }
  /// Greater is more alike.
  float similarity(const Embedding &other) const
  {
    float similarity = 0;
    detail::check(face_embedding_similarity(get(), other.get(), &similarity));
    return similarity;
  }
  const face_embedding_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_embedding_t, face_embedding_free>;
  explicit Embedding(Handle handle) : handle_(std::move(handle)) {}
  friend class Pipeline;
  friend class Gallery;
  Handle handle_;
};

/// Are two faces the same person's?
inline Verification verify(const Embedding &first, const Embedding &second, const Threshold &threshold)
{
  face_verification_t answer{};
  const face_threshold_t lent = threshold.lend();
  detail::check(face_verify(first.get(), second.get(), &lent, &answer));
  return Verification{answer.is_match, answer.similarity, threshold};
}

/// A group number for each face, 0 for the largest group.
inline std::vector<std::size_t> cluster(const std::vector<Embedding> &embeddings, float min_similarity)
{
  std::vector<const face_embedding_t *> pointers;
  for (const Embedding &embedding : embeddings)
    pointers.push_back(embedding.get());
  std::vector<std::size_t> groups(embeddings.size());
  detail::check(face_cluster(pointers.data(), pointers.size(), min_similarity, groups.data()));
  return groups;
}

/// One face of a photo.
struct Face {
  Detection detection;
  Landmarks landmarks;
  Embedding embedding;
};

/// A face that was found but could not be embedded.
struct Rejected {
  Detection detection;
  face_status_t status;
  std::string reason;
};

/// The faces of a photo, the most certain first.
class Analysis {
public:
  const std::vector<Face> &faces() const & noexcept { return faces_; }
  /// Of an analysis that nobody keeps, so that `for (auto &face : pipeline.analyze(photo).faces())` is right.
  std::vector<Face> faces() && { return std::move(faces_); }
  const std::vector<Rejected> &rejected() const & noexcept { return rejected_; }
  std::vector<Rejected> rejected() && { return std::move(rejected_); }
  /// The face with the largest box; nullptr where there is none.
  const Face *largest() const & noexcept { return faces_.empty() ? nullptr : &faces_[largest_]; }
  const Face *largest() const && = delete; // It would point into an analysis that is gone.

private:
  explicit Analysis(const face_analysis_t *analysis) : largest_(face_analysis_largest(analysis))
  {
    for (std::size_t i = 0; i < face_analysis_count(analysis); i++) {
      Detection detection{};
      Landmarks landmarks{};
      detail::check(face_analysis_detection(analysis, i, &detection));
      detail::check(face_analysis_landmarks(analysis, i, &landmarks));
      faces_.push_back(Face{detection, landmarks, Embedding(face_analysis_embedding(analysis, i))});
    }
    for (std::size_t i = 0; i < face_analysis_rejected_count(analysis); i++) {
      Rejected rejected{};
      const char *reason = nullptr;
      detail::check(face_analysis_rejected(analysis, i, &rejected.detection, &rejected.status, &reason));
      rejected.reason = reason;
      rejected_.push_back(std::move(rejected));
    }
  }
  friend class Pipeline;
  friend class Stream;
  std::vector<Face> faces_;
  std::vector<Rejected> rejected_;
  std::size_t largest_;
};

/// The analysis of one image of a batch, or what went wrong with it.
struct BatchItem {
  std::optional<Analysis> analysis;
  std::optional<Error> error;
};

/// A face brought to the embedder's shape and size.
class Crop {
public:
  std::size_t count() const noexcept { return face_crop_count(get()); }
  /// One picture, lent as long as the crop lives.
  Pixels view(std::size_t index = 0) const &
  {
    Pixels view{};
    detail::check(face_crop_view(get(), index, &view));
    return view;
  }
  Pixels view(std::size_t index = 0) const && = delete;
  /// Row by row, the 2x3 matrix from pixels of the photo to pixels of the crop.
  std::array<double, 6> transform() const
  {
    std::array<double, 6> transform{};
    detail::check(face_crop_transform(get(), transform.data()));
    return transform;
  }
  const face_crop_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_crop_t, face_crop_free>;
  explicit Crop(Handle handle) : handle_(std::move(handle)) {}
  friend class Pipeline;
  Handle handle_;
};

/// Photos on their way through a pipeline, spread over threads: push some, take results in the same order. It keeps what it needs of its
/// pipeline. Any number of threads may push and take.
class Stream {
public:
  /// Whether a photo may be pushed before a result is taken.
  bool has_room() const noexcept { return face_stream_has_room(get()); }
  /// How many photos were pushed whose results were not taken.
  std::size_t waiting() const noexcept { return face_stream_waiting(get()); }
  /// Copies the pixels. An Error with FACE_STATUS_INVALID_ARGUMENT where there is no room, as from the other two.
  void push(const Pixels &view) const { detail::check(face_stream_push(get(), &view)); }
  /// The file is read on a thread of the stream.
  void push_file(const std::string &path) const { detail::check(face_stream_push_file(get(), detail::text(path))); }
  /// The content of a file.
  void push_bytes(const std::vector<std::uint8_t> &bytes) const
  {
    detail::check(face_stream_push_bytes(get(), bytes.data(), bytes.size()));
  }
  /// Waits for the next result. What went wrong with its photo is in it; that none is on its way is an Error.
  BatchItem take() const
  {
    const bool is_empty = waiting() == 0;
    face_analysis_t *analysis = nullptr;
    const face_status_t status = face_stream_take(get(), &analysis);
    const detail::Owned<face_analysis_t, face_analysis_free> owned(analysis);
    if (status == FACE_STATUS_OK)
      return BatchItem{Analysis(analysis), std::nullopt};
    if (is_empty)
      throw Error(status, face_last_error());
    return BatchItem{std::nullopt, Error(status, face_last_error())};
  }
  const face_stream_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_stream_t, face_stream_free>;
  explicit Stream(Handle handle) : handle_(std::move(handle)) {}
  friend class Pipeline;
  Handle handle_;
};

/// Over how many threads a network is spread that a call runs by itself: 0 for one for each core.
inline void set_threads(std::size_t threads) { detail::check(face_set_threads(threads)); }

/// A detector, an aligner, a normalizer and an embedder, for all threads.
class Pipeline {
public:
  /// The default models.
  Pipeline() : handle_(detail::make<Handle>(face_pipeline_open, static_cast<const face_pipeline_params_t *>(nullptr))) {}
  /// struct_size is set for you: `face_pipeline_params_t params{}; params.detector = "yunet";`
  explicit Pipeline(face_pipeline_params_t params)
  {
    params.struct_size = sizeof params;
    handle_ = detail::make<Handle>(face_pipeline_open, static_cast<const face_pipeline_params_t *>(&params));
  }

  /// Lent as long as the pipeline lives.
  Space space() const & { return Space(face_pipeline_space(get())); }
  Space space() const && = delete;

  std::vector<Detection> detect(const Pixels &view) const
  {
    using Detections = detail::Owned<face_detections_t, face_detections_free>;
    const Detections found = detail::make<Detections>(face_pipeline_detect, get(), &view);
    std::vector<Detection> all(face_detections_count(found.get()));
    for (std::size_t i = 0; i < all.size(); i++)
      detail::check(face_detections_get(found.get(), i, &all[i]));
    return all;
  }
  Landmarks align(const Pixels &view, const Detection &detection) const
  {
    Landmarks landmarks{};
    detail::check(face_pipeline_align(get(), &view, &detection, &landmarks));
    return landmarks;
  }
  Crop normalize(const Pixels &view, const Landmarks &landmarks) const
  {
    return Crop(detail::make<Crop::Handle>(face_pipeline_normalize, get(), &view, &landmarks));
  }
  /// A crop that was aligned elsewhere: one picture for each of the embedder's zooms.
  Crop aligned_crop(const std::vector<Pixels> &views) const
  {
    return Crop(detail::make<Crop::Handle>(face_pipeline_aligned_crop, get(), views.data(), views.size()));
  }
  Embedding embed(const Crop &crop) const
  {
    return Embedding(detail::make<Embedding::Handle>(face_pipeline_embed, get(), crop.get()));
  }
  /// Stages 2 to 4 for one face.
  Face embed_detection(const Pixels &view, const Detection &detection) const
  {
    return Analysis(detail::make<Analyzed>(face_pipeline_embed_detection, get(), &view, &detection).get()).faces_.at(0);
  }
  Analysis analyze(const Pixels &view) const
  {
    return Analysis(detail::make<Analyzed>(face_pipeline_analyze, get(), &view).get());
  }
  /// The face with the largest box; an Error with FACE_STATUS_NO_FACE where there is none.
  Face analyze_largest(const Pixels &view) const
  {
    return Analysis(detail::make<Analyzed>(face_pipeline_analyze_largest, get(), &view).get()).faces_.at(0);
  }
  std::vector<BatchItem> analyze_batch(const std::vector<Pixels> &views) const
  {
    using Batch = detail::Owned<face_batch_t, face_batch_free>;
    const Batch batch = detail::make<Batch>(face_pipeline_analyze_batch, get(), views.data(), views.size());
    std::vector<BatchItem> items;
    for (std::size_t i = 0; i < face_batch_count(batch.get()); i++) {
      const face_status_t status = face_batch_status(batch.get(), i);
      if (status == FACE_STATUS_OK)
        items.push_back(BatchItem{Analysis(face_batch_analysis(batch.get(), i)), std::nullopt});
      else
        items.push_back(BatchItem{std::nullopt, Error(status, face_batch_message(batch.get(), i))});
    }
    return items;
  }
  /// struct_size is set for you.
  Stream stream(face_stream_params_t params = {}) const
  {
    params.struct_size = sizeof params;
    return Stream(detail::make<Stream::Handle>(face_pipeline_stream, get(), static_cast<const face_stream_params_t *>(&params)));
  }
  const face_pipeline_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_pipeline_t, face_pipeline_free>;
  using Analyzed = detail::Owned<face_analysis_t, face_analysis_free>;
  Handle handle_;
};

/// A template that is to be enrolled.
struct NewTemplate {
  Embedding embedding;
  std::optional<std::string> source = std::nullopt;
  std::optional<float> quality = std::nullopt;
  /// Seconds since 1970-01-01 00:00 UTC; 0 for now.
  std::uint64_t enrolled_at = 0;
};

/// What is known of an enrolled template.
struct Template {
  std::uint64_t id;
  std::uint64_t enrolled_at;
  std::optional<float> quality;
  std::optional<std::string> source;
};

/// An enrolled person; `metadata` is a JSON object.
struct Subject {
  std::uint64_t id;
  std::string name;
  std::string metadata;
  std::vector<Template> templates;
};

/// An enrolled person who may be the one of a probe.
struct Candidate {
  std::uint64_t subject;
  std::uint64_t template_id;
  std::string name;
  float similarity;
};

/// The answer to "who is it?".
struct Identification {
  std::vector<Candidate> candidates;
  bool is_match;
  Threshold threshold;
  std::uint64_t templates;
  double fpir_bound;
  /// The person, or nullptr for nobody.
  const Candidate *best_match() const & noexcept { return is_match && !candidates.empty() ? &candidates[0] : nullptr; }
  const Candidate *best_match() const && = delete; // It would point into an answer that is gone.
};

/// Enrolled people, for all threads.
class Gallery {
public:
  using Params = face_gallery_params_t;

  static Gallery in_memory(const Space &space, Params params = {})
  {
    return Gallery(detail::make<Handle>(face_gallery_in_memory, space.get(), sized(params)));
  }
  static Gallery create(const std::string &path, const Space &space, Params params = {})
  {
    return Gallery(detail::make<Handle>(face_gallery_create, detail::text(path), space.get(), sized(params)));
  }
  static Gallery open(const std::string &path, Params params = {})
  {
    return Gallery(detail::make<Handle>(face_gallery_open, detail::text(path), sized(params)));
  }
  static Gallery open_read_only(const std::string &path, Params params = {})
  {
    return Gallery(detail::make<Handle>(face_gallery_open_read_only, detail::text(path), sized(params)));
  }
  static Gallery create_postgres(face_postgres_params_t params, const Space &space)
  {
    return Gallery(detail::make<Handle>(face_gallery_create_postgres, sized(params), space.get()));
  }
  static Gallery open_postgres(face_postgres_params_t params)
  {
    return Gallery(detail::make<Handle>(face_gallery_open_postgres, sized(params)));
  }

  std::string name() const { return detail::copied(face_gallery_name(get())); }
  /// Lent as long as the gallery lives.
  Space space() const & { return Space(face_gallery_space(get())); }
  Space space() const && = delete;
  /// Numbers of people and of templates.
  std::pair<std::uint64_t, std::uint64_t> count() const
  {
    std::pair<std::uint64_t, std::uint64_t> count;
    detail::check(face_gallery_count(get(), &count.first, &count.second));
    return count;
  }

  std::uint64_t enroll(const std::string &name, const std::vector<NewTemplate> &templates,
                       const std::optional<std::string> &metadata = std::nullopt)
  {
    const std::vector<face_new_template_t> lent = lend(templates);
    const face_new_subject_t subject{detail::text(name), detail::text(metadata), lent.data(), lent.size()};
    std::uint64_t id = 0;
    detail::check(face_gallery_enroll(get(), &subject, &id));
    return id;
  }
  /// Number of people that a search would look at, and of their templates; `metadata` is a JSON object.
  std::pair<std::uint64_t, std::uint64_t> count_matching(const std::string &metadata) const
  {
    std::pair<std::uint64_t, std::uint64_t> count;
    detail::check(face_gallery_count_matching(get(), nullptr, 0, detail::text(metadata), &count.first, &count.second));
    return count;
  }
  std::vector<std::uint64_t> add_templates(std::uint64_t subject, const std::vector<NewTemplate> &templates)
  {
    const std::vector<face_new_template_t> lent = lend(templates);
    std::vector<std::uint64_t> ids(lent.size());
    detail::check(face_gallery_add_templates(get(), subject, lent.data(), lent.size(), ids.data()));
    return ids;
  }
  void rename(std::uint64_t subject, const std::string &name)
  {
    detail::check(face_gallery_rename(get(), subject, detail::text(name)));
  }
  void set_metadata(std::uint64_t subject, const std::string &metadata)
  {
    detail::check(face_gallery_set_metadata(get(), subject, detail::text(metadata)));
  }
  void set_thresholds(const std::vector<Threshold> &thresholds)
  {
    std::vector<face_threshold_t> lent;
    for (const Threshold &threshold : thresholds)
      lent.push_back(threshold.lend());
    detail::check(face_gallery_set_thresholds(get(), lent.data(), lent.size()));
  }
  void remove_subject(std::uint64_t subject) { detail::check(face_gallery_remove_subject(get(), subject)); }
  void remove_template(std::uint64_t id) { detail::check(face_gallery_remove_template(get(), id)); }

  Subject subject(std::uint64_t id) const
  {
    return subjects(detail::make<Subjects>(face_gallery_subject, get(), id)).at(0);
  }
  std::optional<Subject> find(const std::string &name) const
  {
    std::vector<Subject> found = subjects(detail::make<Subjects>(face_gallery_find, get(), detail::text(name)));
    return found.empty() ? std::nullopt : std::optional<Subject>(std::move(found[0]));
  }
  /// A page; an empty one is the end. `after` is the last id of the page before.
  std::vector<Subject> list(std::uint64_t after = 0, std::size_t limit = 0) const
  {
    return subjects(detail::make<Subjects>(face_gallery_list, get(), after, limit));
  }
  Embedding embedding(std::uint64_t template_id) const
  {
    return Embedding(detail::make<Embedding::Handle>(face_gallery_embedding, get(), template_id));
  }

  Identification identify(const Embedding &probe, face_identify_params_t params = {}) const
  {
    using Identifications = detail::Owned<face_identifications_t, face_identifications_free>;
    const face_embedding_t *probes[] = {probe.get()};
    const Identifications answers =
        detail::make<Identifications>(face_gallery_identify, get(), static_cast<const face_embedding_t *const *>(probes),
                                      std::size_t{1}, sized(params));
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < face_identifications_candidate_count(answers.get(), 0); i++) {
      face_candidate_t candidate{};
      detail::check(face_identifications_candidate(answers.get(), 0, i, &candidate));
      candidates.push_back(copied(candidate));
    }
    face_threshold_t threshold{};
    std::uint64_t templates = 0;
    double fpir_bound = 0;
    detail::check(face_identifications_threshold(answers.get(), 0, &threshold, &templates, &fpir_bound));
    return Identification{std::move(candidates), face_identifications_is_match(answers.get(), 0), Threshold(threshold),
                          templates, fpir_bound};
  }
  std::vector<Candidate> search(const Embedding &probe, face_search_params_t params = {}) const
  {
    using Candidates = detail::Owned<face_candidates_t, face_candidates_free>;
    const face_embedding_t *probes[] = {probe.get()};
    const Candidates found = detail::make<Candidates>(
        face_gallery_search, get(), static_cast<const face_embedding_t *const *>(probes), std::size_t{1}, sized(params));
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < face_candidates_count(found.get(), 0); i++) {
      face_candidate_t candidate{};
      detail::check(face_candidates_get(found.get(), 0, i, &candidate));
      candidates.push_back(copied(candidate));
    }
    return candidates;
  }

  void compact() { detail::check(face_gallery_compact(get())); }
  void save_index() { detail::check(face_gallery_save_index(get())); }
  void export_to(const std::string &path) const { detail::check(face_gallery_export(get(), detail::text(path))); }
  face_import_report_t import_from(const std::string &path, bool skip_existing = false)
  {
    face_import_report_t report{};
    detail::check(face_gallery_import(get(), detail::text(path), skip_existing ? 1 : 0, &report));
    return report;
  }
  /// Pairs of people who may be one, the most alike first.
  std::vector<face_duplicate_t> duplicates(float min_similarity) const
  {
    using Duplicates = detail::Owned<face_duplicates_t, face_duplicates_free>;
    const Duplicates found = detail::make<Duplicates>(face_gallery_duplicates, get(), min_similarity);
    std::vector<face_duplicate_t> pairs(face_duplicates_count(found.get()));
    for (std::size_t i = 0; i < pairs.size(); i++)
      detail::check(face_duplicates_get(found.get(), i, &pairs[i]));
    return pairs;
  }
  const face_gallery_t *get() const noexcept { return handle_.get(); }

private:
  using Handle = detail::Owned<face_gallery_t, face_gallery_free>;
  using Subjects = detail::Owned<face_subjects_t, face_subjects_free>;
  explicit Gallery(Handle handle) : handle_(std::move(handle)) {}

  template <class T> static const T *sized(T &params)
  {
    params.struct_size = sizeof params;
    return &params;
  }
  static std::vector<face_new_template_t> lend(const std::vector<NewTemplate> &templates)
  {
    std::vector<face_new_template_t> lent;
    for (const NewTemplate &one : templates)
      lent.push_back({one.embedding.get(), detail::text(one.source), one.enrolled_at, one.quality.value_or(0.0F),
                      one.quality ? 1U : 0U});
    return lent;
  }
  static Candidate copied(const face_candidate_t &other)
  {
    return Candidate{other.subject, other.template_id, other.name, other.similarity};
  }
  static std::vector<Subject> subjects(const Subjects &found)
  {
    std::vector<Subject> all;
    for (std::size_t i = 0; i < face_subjects_count(found.get()); i++) {
      Subject subject{face_subjects_id(found.get(), i), face_subjects_name(found.get(), i),
                      face_subjects_metadata(found.get(), i), {}};
      for (std::size_t j = 0; j < face_subjects_template_count(found.get(), i); j++) {
        face_template_t known{};
        detail::check(face_subjects_template(found.get(), i, j, &known));
        const auto quality = known.quality < 0 ? std::nullopt : std::optional<float>(known.quality);
        subject.templates.push_back(Template{known.id, known.enrolled_at, quality, detail::optional(known.source)});
      }
      all.push_back(std::move(subject));
    }
    return all;
  }
  Handle handle_;
};

} // namespace face

#endif // FACE_HPP
