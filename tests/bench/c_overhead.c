/* What a call through C costs, beside the work that it asks for.
 *
 *   cc -O2 tests/bench/c_overhead.c $(pkg-config --cflags --libs face) -o c_overhead && ./c_overhead PHOTO
 *
 * Prints the median time of a call that does nothing but check its arguments (face_image_view), of one that compares two
 * embeddings, and of a whole analysis of the photo. */
#define _POSIX_C_SOURCE 199309L
#include <face.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 21

static double now(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

#define MEDIAN(calls, call) \
  do { \
    double rounds[ROUNDS]; \
    for (int round = 0; round < ROUNDS; round++) { \
      const double start = now(); \
      for (long i = 0; i < (calls); i++) \
        if ((call) != FACE_STATUS_OK) \
          return 1; \
      rounds[round] = (now() - start) / (double)(calls); \
    } \
    qsort(rounds, ROUNDS, sizeof *rounds, by_value); \
    printf("%-28s %14.1f ns\n", #call + 5, rounds[ROUNDS / 2]); \
  } while (0)

static face_pipeline_t *pipeline;
static face_image_t *photo;
static face_image_view_t pixels;
static const face_embedding_t *embedding;

static face_status_t call_image_view(void)
{
  face_image_view_t view;
  return face_image_view(photo, &view);
}

static face_status_t call_embedding_similarity(void)
{
  float similarity;
  return face_embedding_similarity(embedding, embedding, &similarity);
}

static face_status_t call_pipeline_analyze(void)
{
  face_analysis_t *analysis = NULL;
  const face_status_t status = face_pipeline_analyze(pipeline, &pixels, &analysis);
  face_analysis_free(analysis);
  return status;
}

int main(int argc, char **argv)
{
  face_analysis_t *analysis = NULL;
  if (argc != 2 || face_pipeline_open(NULL, &pipeline) || face_image_open(argv[1], NULL, &photo)
      || face_image_view(photo, &pixels) || face_pipeline_analyze_largest(pipeline, &pixels, &analysis)) {
    fprintf(stderr, "%s\n", argc == 2 ? face_last_error() : "usage: c_overhead PHOTO");
    return 2;
  }
  embedding = face_analysis_embedding(analysis, 0);
  MEDIAN(1000000, call_image_view());
  MEDIAN(100000, call_embedding_similarity());
  MEDIAN(1, call_pipeline_analyze());
  face_analysis_free(analysis);
  face_image_free(photo);
  face_pipeline_free(pipeline);
  return 0;
}
