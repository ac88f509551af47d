/* What the pipeline finds on photos, with all digits, for comparison with other languages.
 *
 *   numbers PHOTO...      a JSON array as `face embed --json` prints it, without the space */
#include "check.h"

int main(int argc, char **argv)
{
  face_pipeline_t *pipeline = NULL;
  WORKS(face_pipeline_open(NULL, &pipeline));
  printf("[");
  for (int i = 1; i < argc; i++) {
    face_image_t *photo = NULL;
    face_image_view_t view;
    face_analysis_t *analysis = NULL;
    WORKS(face_image_open(argv[i], NULL, &photo));
    WORKS(face_image_view(photo, &view));
    WORKS(face_pipeline_analyze(pipeline, &view, &analysis));
    printf("%s{\"width\": %u, \"height\": %u, \"faces\": [", i > 1 ? ",\n" : "", view.width, view.height);
    for (size_t j = 0; j < face_analysis_count(analysis); j++) {
      face_detection_t face;
      face_landmarks_t landmarks;
      WORKS(face_analysis_detection(analysis, j, &face));
      WORKS(face_analysis_landmarks(analysis, j, &landmarks));
      const face_embedding_t *embedding = face_analysis_embedding(analysis, j);
      const face_box_t box = face.bounding_box;
      printf("%s{\"box\": [%.9g, %.9g, %.9g, %.9g], \"score\": %.9g, \"landmarks\": [", j > 0 ? ",\n" : "", (double)box.x,
             (double)box.y, (double)box.width, (double)box.height, (double)face.score);
      for (int k = 0; k < 5; k++)
        printf("%s[%.9g, %.9g]", k > 0 ? ", " : "", (double)landmarks.points[k].x, (double)landmarks.points[k].y);
      printf("], \"embedding\": [");
      for (size_t k = 0; k < face_embedding_dimension(embedding); k++)
        printf("%s%.9g", k > 0 ? ", " : "", (double)face_embedding_values(embedding)[k]);
      printf("]}");
    }
    printf("]}");
    face_analysis_free(analysis);
    face_image_free(photo);
  }
  printf("]\n");
  face_pipeline_free(pipeline);
  return 0;
}
