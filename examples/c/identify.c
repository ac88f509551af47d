/* Who is on a photo? Enrols people from photos named after them, and looks everybody up.
 *
 *   cc identify.c $(pkg-config --cflags --libs face) -o identify && ./identify people.face party.jpg ada.jpg ben.jpg
 *
 * The gallery is made when it is not there; without photos of people it is only asked. */
#include <face.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what)
{
  fprintf(stderr, "%s: %s\n", what, face_last_error());
  return 2;
}

static int analyze(const face_pipeline_t *pipeline, const char *path, int largest, face_analysis_t **analysis)
{
  face_image_t *photo = NULL;
  face_image_view_t pixels;
  int ok = face_image_open(path, NULL, &photo) == FACE_STATUS_OK && face_image_view(photo, &pixels) == FACE_STATUS_OK
           && (largest ? face_pipeline_analyze_largest : face_pipeline_analyze)(pipeline, &pixels, analysis)
                  == FACE_STATUS_OK;
  face_image_free(photo);
  return ok;
}

static int enroll(const face_pipeline_t *pipeline, const face_gallery_t *gallery, const char *path)
{
  face_analysis_t *face = NULL;
  if (!analyze(pipeline, path, 1, &face))
    return 0;
  char name[256];
  const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "."), base);
  face_new_template_t template_of_face = {.embedding = face_analysis_embedding(face, 0), .source = path};
  face_new_subject_t subject = {.name = name, .templates = &template_of_face, .template_count = 1};
  face_status_t status = face_gallery_enroll(gallery, &subject, NULL);
  face_analysis_free(face);
  return status == FACE_STATUS_OK || status == FACE_STATUS_NAME_TAKEN;
}

int main(int argc, char **argv)
{
  if (argc < 3) {
    fprintf(stderr, "usage: %s GALLERY PHOTO [PERSON.jpg ...]\n", argv[0]);
    return 2;
  }
  int exit_status = 0;
  face_pipeline_t *pipeline = NULL;
  face_gallery_t *gallery = NULL;
  face_analysis_t *crowd = NULL;
  face_identifications_t *answers = NULL;

  if (face_pipeline_open(NULL, &pipeline) != FACE_STATUS_OK)
    exit_status = failed("the models");
  else if (face_gallery_open(argv[1], NULL, &gallery) == FACE_STATUS_NOT_FOUND)
    face_gallery_create(argv[1], face_pipeline_space(pipeline), NULL, &gallery);
  if (exit_status == 0 && !gallery)
    exit_status = failed(argv[1]);
  for (int i = 3; i < argc && exit_status == 0; i++)
    if (!enroll(pipeline, gallery, argv[i]))
      exit_status = failed(argv[i]);
  if (exit_status == 0 && !analyze(pipeline, argv[2], 0, &crowd))
    exit_status = failed(argv[2]);

  for (size_t i = 0; exit_status == 0 && i < face_analysis_count(crowd); i++) {
    const face_embedding_t *probe = face_analysis_embedding(crowd, i);
    face_candidate_t best;
    if (face_gallery_identify(gallery, &probe, 1, NULL, &answers) != FACE_STATUS_OK)
      exit_status = failed("identify");
    else if (face_identifications_is_match(answers, 0)
             && face_identifications_candidate(answers, 0, 0, &best) == FACE_STATUS_OK)
      printf("face %zu: %s (similarity %.3f)\n", i + 1, best.name, best.similarity);
    else
      printf("face %zu: nobody who is enrolled\n", i + 1);
    face_identifications_free(answers);
    answers = NULL;
  }
  face_analysis_free(crowd);
  face_gallery_free(gallery);
  face_pipeline_free(pipeline);
  return exit_status;
}
