/* One pipeline and one gallery, used by 8 threads at the same time: all get the numbers that one alone gets.
 *
 *   threads FOLDER PHOTO OTHER_PERSON */
#define CHECKED_BY_THREADS
#include "check.h"
#include <pthread.h>

#define THREADS 8
#define ROUNDS 4

static face_pipeline_t *pipeline;
static face_gallery_t *gallery;
static face_image_view_t views[2];
static float expected[2][128];

static void *work(void *argument)
{
  const size_t own = (size_t)(uintptr_t)argument;
  for (size_t round = 0; round < ROUNDS; round++) {
    const size_t which = (own + round) % 2;
    face_analysis_t *analysis = NULL;
    face_identifications_t *answers = NULL;
    CHECK(face_pipeline_analyze_largest(pipeline, &views[which], &analysis) == FACE_STATUS_OK);
    const face_embedding_t *embedding = face_analysis_embedding(analysis, 0);
    CHECK(memcmp(face_embedding_values(embedding), expected[which], sizeof expected[which]) == 0);

    /* Enrol a name of one's own, and look oneself up while others enrol and remove. */
    char name[64];
    snprintf(name, sizeof name, "thread %zu, round %zu", own, round);
    face_new_template_t template_of_face = {embedding, NULL, 0, 0.0F, 0};
    face_new_subject_t subject = {name, NULL, &template_of_face, 1};
    uint64_t id = 0;
    CHECK(face_gallery_enroll(gallery, &subject, &id) == FACE_STATUS_OK);
    CHECK(face_gallery_identify(gallery, &embedding, 1, NULL, &answers) == FACE_STATUS_OK);
    CHECK(face_identifications_is_match(answers, 0));
    face_identifications_free(answers);
    if (round % 2 == 0)
      CHECK(face_gallery_remove_subject(gallery, id) == FACE_STATUS_OK);
    face_analysis_free(analysis);

    /* Each thread has a message of its own. */
    CHECK(face_gallery_remove_subject(gallery, 1000000 + own) == FACE_STATUS_NOT_ENROLLED);
    char number[32];
    snprintf(number, sizeof number, "%zu", 1000000 + own);
    CHECK(strstr(face_last_error(), number) != NULL);
  }
  return NULL;
}

int main(int argc, char **argv)
{
  if (argc != 4)
    return 2;
  face_image_t *photos[2] = {NULL, NULL};
  char path[4096];
  snprintf(path, sizeof path, "%s/threads.face", argv[1]);
  WORKS(face_pipeline_open(NULL, &pipeline));
  WORKS(face_gallery_create(path, face_pipeline_space(pipeline), NULL, &gallery));
  for (int i = 0; i < 2; i++) {
    face_analysis_t *analysis = NULL;
    WORKS(face_image_open(argv[2 + i], NULL, &photos[i]));
    WORKS(face_image_view(photos[i], &views[i]));
    WORKS(face_pipeline_analyze_largest(pipeline, &views[i], &analysis));
    memcpy(expected[i], face_embedding_values(face_analysis_embedding(analysis, 0)), sizeof expected[i]);
    face_analysis_free(analysis);
  }
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++)
    CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
  for (size_t i = 0; i < THREADS; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  uint64_t subjects = 0;
  WORKS(face_gallery_count(gallery, &subjects, NULL));
  CHECK(subjects == THREADS * ROUNDS / 2);
  face_gallery_free(gallery);
  face_pipeline_free(pipeline);
  face_image_free(photos[0]);
  face_image_free(photos[1]);
  printf("%d threads\n", THREADS);
  return 0;
}
