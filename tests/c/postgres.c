/* A gallery on a PostgreSQL server, through C.
 *
 *   postgres URL PERSON SAME OTHER      three photos: two of one person, one of another */
#include "check.h"

static face_analysis_t *face_of(const face_pipeline_t *pipeline, const char *path)
{
  face_image_t *photo = NULL;
  face_image_view_t view;
  face_analysis_t *face = NULL;
  WORKS(face_image_open(path, NULL, &photo));
  WORKS(face_image_view(photo, &view));
  WORKS(face_pipeline_analyze_largest(pipeline, &view, &face));
  face_image_free(photo);
  return face;
}

static uint64_t enroll(const face_gallery_t *gallery, const char *name, const face_analysis_t *face)
{
  face_new_template_t template_of_face;
  face_new_subject_t subject;
  uint64_t id = 0;
  memset(&template_of_face, 0, sizeof template_of_face);
  memset(&subject, 0, sizeof subject);
  template_of_face.embedding = face_analysis_embedding(face, 0);
  template_of_face.source = "a photo";
  subject.name = name;
  subject.metadata = "{\"team\": \"red\"}";
  subject.templates = &template_of_face;
  subject.template_count = 1;
  WORKS(face_gallery_enroll(gallery, &subject, &id));
  return id;
}

/* The name of who it is, or "nobody". */
static void identified(const face_gallery_t *gallery, const face_analysis_t *face, const char *expected)
{
  const face_embedding_t *probe = face_analysis_embedding(face, 0);
  face_identifications_t *answers = NULL;
  face_candidate_t best;
  WORKS(face_gallery_identify(gallery, &probe, 1, NULL, &answers));
  WORKS(face_identifications_candidate(answers, 0, 0, &best));
  CHECK(strcmp(face_identifications_is_match(answers, 0) ? best.name : "nobody", expected) == 0);
  face_identifications_free(answers);
}

static void life(const face_postgres_params_t *server, const face_pipeline_t *pipeline, char **photos)
{
  face_gallery_t *gallery = NULL, *again = NULL;
  face_subjects_t *people = NULL;
  uint64_t subjects = 0, templates = 0;
  face_analysis_t *person = face_of(pipeline, photos[0]), *same = face_of(pipeline, photos[1]), *other = face_of(pipeline, photos[2]);

  FAILS(face_gallery_open_postgres(server, &gallery), FACE_STATUS_GALLERY_STORE);
  WORKS(face_gallery_create_postgres(server, face_pipeline_space(pipeline), &gallery));
  FAILS(face_gallery_create_postgres(server, face_pipeline_space(pipeline), &again), FACE_STATUS_GALLERY_STORE);
  uint64_t ada = enroll(gallery, "Ada", person);
  CHECK(strstr(face_gallery_name(gallery), "secret") == NULL);
  identified(gallery, same, "Ada");
  identified(gallery, other, "nobody");
  uint64_t ben = enroll(gallery, "Ben", other);
  identified(gallery, other, "Ben");
  WORKS(face_gallery_rename(gallery, ben, "Benedict"));
  WORKS(face_gallery_set_metadata(gallery, ben, "{}"));

  /* Another connection sees it, and gives the same bits. */
  WORKS(face_gallery_open_postgres(server, &again));
  WORKS(face_gallery_count(again, &subjects, &templates));
  CHECK(subjects == 2 && templates == 2);
  identified(again, other, "Benedict");
  WORKS(face_gallery_find(again, "Ada", &people));
  CHECK(face_subjects_count(people) == 1 && face_subjects_id(people, 0) == ada);
  CHECK(strcmp(face_subjects_metadata(people, 0), "{\"team\":\"red\"}") == 0);
  face_template_t template_of_ada;
  face_embedding_t *kept = NULL;
  WORKS(face_subjects_template(people, 0, 0, &template_of_ada));
  WORKS(face_gallery_embedding(again, template_of_ada.id, &kept));
  const face_embedding_t *given = face_analysis_embedding(person, 0);
  CHECK(memcmp(face_embedding_values(kept), face_embedding_values(given), face_embedding_dimension(given) * sizeof(float)) == 0);
  face_embedding_free(kept);
  face_subjects_free(people);
  WORKS(face_gallery_save_index(again));

  WORKS(face_gallery_remove_subject(again, ada));
  FAILS(face_gallery_remove_subject(gallery, ada), FACE_STATUS_NOT_ENROLLED);
  WORKS(face_gallery_compact(gallery));
  identified(gallery, same, "nobody");
  face_gallery_free(again);
  face_gallery_free(gallery);
  face_analysis_free(person);
  face_analysis_free(same);
  face_analysis_free(other);
}

int main(int argc, char **argv)
{
  face_pipeline_t *pipeline = NULL;
  face_postgres_params_t server;
  CHECK(argc == 5);
  WORKS(face_pipeline_open(NULL, &pipeline));
  memset(&server, 0, sizeof server);
  server.struct_size = sizeof server;
  server.url = argv[1];
  server.tls = FACE_TLS_DISABLE;
  server.gallery = "exact";
  life(&server, pipeline, argv + 2);
  server.gallery = "with an index";
  server.hnsw = 1;
  server.min_templates = 1;
  life(&server, pipeline, argv + 2);
  face_pipeline_free(pipeline);
  printf("%lu checks\n", checks_made);
  return 0;
}
