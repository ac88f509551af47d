/* Writes a photo at a quarter of its size, for tests under tools that make everything slow.
 *
 *   shrink PHOTO OUT.png */
#include "check.h"

#define FACTOR 4

int main(int argc, char **argv)
{
  face_image_t *photo = NULL, *small = NULL;
  face_image_view_t view;
  CHECK(argc == 3);
  WORKS(face_image_open(argv[1], NULL, &photo));
  WORKS(face_image_view(photo, &view));
  const uint32_t width = view.width / FACTOR, height = view.height / FACTOR;
  unsigned char *pixels = (unsigned char *)malloc((size_t)width * height * 3);
  CHECK(pixels != NULL);
  for (uint32_t y = 0; y < height; y++)
    for (uint32_t x = 0; x < 3 * width; x++) {
      unsigned sum = 0;
      for (size_t i = 0; i < FACTOR * FACTOR; i++)
        sum += view.data[(FACTOR * y + i / FACTOR) * view.stride + 3 * (FACTOR * (x / 3) + i % FACTOR) + x % 3];
      pixels[3 * width * y + x] = (unsigned char)(sum / (FACTOR * FACTOR));
    }
  face_image_view_t shrunk;
  memset(&shrunk, 0, sizeof shrunk);
  shrunk.data = pixels;
  shrunk.width = width;
  shrunk.height = height;
  shrunk.format = FACE_PIXEL_RGB8;
  WORKS(face_image_copy(&shrunk, &small));
  WORKS(face_image_save(small, argv[2]));
  face_image_free(small);
  face_image_free(photo);
  free(pixels);
  return 0;
}
