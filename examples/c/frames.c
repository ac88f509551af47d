/* Faces in the frames of a camera: a loop over pixels in a buffer of one's own, as V4L2, OpenCV or GStreamer hand them over.
 *
 *   cc frames.c $(pkg-config --cflags --libs face) -o frames && ./frames 640 480 < frames.bgr
 *
 * Reads frames of WIDTH x HEIGHT pixels, three bytes each (blue, green, red), one after another, such as
 * `ffmpeg -i video.mp4 -f rawvideo -pix_fmt bgr24 -s 640x480 -` writes them. */
#include <face.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
  unsigned long width = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
  unsigned long height = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  if (width == 0 || width > 16384 || height == 0 || height > 16384) {
    fprintf(stderr, "usage: %s WIDTH HEIGHT < FRAMES\n", argv[0]);
    return 2;
  }
  const size_t bytes = (size_t)width * height * 3;
  unsigned char *buffer = malloc(bytes);
  face_pipeline_t *pipeline = NULL;
  face_pipeline_params_t params = {.struct_size = sizeof params, .max_side = 640, .min_size = 20.0f};
  int exit_status = 0;
  if (!buffer || face_pipeline_open(&params, &pipeline) != FACE_STATUS_OK) {
    fprintf(stderr, "%s\n", buffer ? face_last_error() : "out of memory");
    exit_status = 2;
  }

  /* The pixels stay where they are: the view only says how they lie. */
  const face_image_view_t frame = {
      .data = buffer, .width = (uint32_t)width, .height = (uint32_t)height, .format = FACE_PIXEL_BGR8};
  for (unsigned long number = 1; exit_status == 0 && fread(buffer, 1, bytes, stdin) == bytes; number++) {
    face_detections_t *faces = NULL;
    if (face_pipeline_detect(pipeline, &frame, &faces) != FACE_STATUS_OK) {
      fprintf(stderr, "frame %lu: %s\n", number, face_last_error());
      exit_status = 2;
    }
    for (size_t i = 0; i < face_detections_count(faces); i++) {
      face_detection_t face;
      if (face_detections_get(faces, i, &face) == FACE_STATUS_OK)
        printf("frame %lu: a face of %.0f x %.0f at (%.0f, %.0f), score %.2f\n", number, face.bounding_box.width,
               face.bounding_box.height, face.bounding_box.x, face.bounding_box.y, face.score);
    }
    face_detections_free(faces);
  }
  face_pipeline_free(pipeline);
  free(buffer);
  return exit_status;
}
