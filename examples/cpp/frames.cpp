// Faces in the frames of a camera: a loop over pixels in a buffer of one's own, as V4L2, OpenCV or GStreamer hand them over.
//
//   c++ -std=c++17 frames.cpp $(pkg-config --cflags --libs face) -o frames && ./frames 640 480 < frames.bgr
//
// Reads frames of WIDTH x HEIGHT pixels, three bytes each (blue, green, red), one after another, such as
// `ffmpeg -i video.mp4 -f rawvideo -pix_fmt bgr24 -s 640x480 -` writes them.
#include <cstdlib>
#include <face.hpp>
#include <iomanip>
#include <iostream>

int main(int argc, char **argv)
{
  const unsigned long width = argc == 3 ? std::strtoul(argv[1], nullptr, 10) : 0;
  const unsigned long height = argc == 3 ? std::strtoul(argv[2], nullptr, 10) : 0;
  if (width == 0 || width > 16384 || height == 0 || height > 16384) {
    std::cerr << "usage: " << argv[0] << " WIDTH HEIGHT < FRAMES\n";
    return 2;
  }
  try {
    face_pipeline_params_t params{};
    params.max_side = 640;
    params.min_size = 20.0F;
    const face::Pipeline pipeline(params);
    std::vector<std::uint8_t> buffer(width * height * 3);
    const face::Pixels frame = face::pixels(buffer.data(), static_cast<std::uint32_t>(width),
                                            static_cast<std::uint32_t>(height), FACE_PIXEL_BGR8);
    std::cout << std::fixed << std::setprecision(0);
    for (int number = 1;
         std::cin.read(reinterpret_cast<char *>(buffer.data()), static_cast<std::streamsize>(buffer.size())); number++)
      for (const face::Detection &found : pipeline.detect(frame))
        std::cout << "frame " << number << ": a face of " << found.bounding_box.width << " x "
                  << found.bounding_box.height << " at (" << found.bounding_box.x << ", " << found.bounding_box.y << ")\n";
    return 0;
  } catch (const face::Error &error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
