/* Writes frames as a camera gives them: a photo, a black picture, the photo again; blue first. Its size goes to the standard error
 * as JSON. */
#include "check.h"

int main(int argc, char **argv)
{
  face_image_t *photo = NULL;
  face_image_view_t view;
  CHECK(argc == 2);
  WORKS(face_image_open(argv[1], NULL, &photo));
  WORKS(face_image_view(photo, &view));
  fprintf(stderr, "[%u, %u]", view.width, view.height);
  for (int frame = 0; frame < 3; frame++)
    for (size_t i = 0; i < (size_t)view.width * view.height; i++) {
      const unsigned char *rgb = view.data + 3 * i;
      unsigned char bgr[3] = {0, 0, 0};
      if (frame != 1) {
        bgr[0] = rgb[2];
        bgr[1] = rgb[1];
        bgr[2] = rgb[0];
      }
      CHECK(fwrite(bgr, 1, 3, stdout) == 3);
    }
  face_image_free(photo);
  return 0;
}
