/* Are the people on two photos the same?
 *
 *   cc verify.c $(pkg-config --cflags --libs face) -o verify && ./verify passport.jpg selfie.jpg
 *
 * Exit status 0: the same person, 1: different people, 2: something went wrong. */
#include <face.h>
#include <stdio.h>

/* The face with the largest box of a photo; NULL, and a message, where there is none. */
static face_analysis_t *largest_face(const face_pipeline_t *pipeline, const char *path)
{
  face_image_t *photo = NULL;
  face_image_view_t pixels;
  face_analysis_t *face = NULL;
  if (face_image_open(path, NULL, &photo) != FACE_STATUS_OK || face_image_view(photo, &pixels) != FACE_STATUS_OK
      || face_pipeline_analyze_largest(pipeline, &pixels, &face) != FACE_STATUS_OK)
    fprintf(stderr, "%s: %s\n", path, face_last_error());
  face_image_free(photo);
  return face;
}

int main(int argc, char **argv)
{
  if (argc != 3) {
    fprintf(stderr, "usage: %s FIRST SECOND\n", argv[0]);
    return 2;
  }
  int exit_status = 2;
  face_pipeline_t *pipeline = NULL;
  face_analysis_t *first = NULL, *second = NULL;
  face_threshold_t threshold;
  face_verification_t answer;

  if (face_pipeline_open(NULL, &pipeline) != FACE_STATUS_OK) {
    fprintf(stderr, "%s\n", face_last_error());
    goto done;
  }
  first = largest_face(pipeline, argv[1]);
  second = largest_face(pipeline, argv[2]);
  if (!first || !second)
    goto done;

  /* The similarity that one in a thousand pairs of different people reaches. */
  if (face_space_threshold_at(face_pipeline_space(pipeline), 1e-3, &threshold) != FACE_STATUS_OK
      || face_verify(face_analysis_embedding(first, 0), face_analysis_embedding(second, 0), &threshold, &answer)
             != FACE_STATUS_OK) {
    fprintf(stderr, "%s\n", face_last_error());
    goto done;
  }
  printf("%s: similarity %.3f, threshold %.3f (false-accept rate %g, measured on %s)\n",
         answer.is_match ? "same person" : "different people", answer.similarity, threshold.similarity, threshold.far,
         threshold.measured_on);
  exit_status = answer.is_match ? 0 : 1;

done:
  face_analysis_free(second);
  face_analysis_free(first);
  face_pipeline_free(pipeline);
  return exit_status;
}
