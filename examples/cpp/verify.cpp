// Are the people on two photos the same?
//
//   c++ -std=c++17 verify.cpp $(pkg-config --cflags --libs face) -o verify && ./verify passport.jpg selfie.jpg
//
// Exit status 0: the same person, 1: different people, 2: something went wrong.
#include <face.hpp>
#include <iostream>

int main(int argc, char **argv)
{
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " FIRST SECOND\n";
    return 2;
  }
  try {
    const face::Pipeline pipeline;
    const face::Face first = pipeline.analyze_largest(face::Image::open(argv[1]));
    const face::Face second = pipeline.analyze_largest(face::Image::open(argv[2]));
    const auto answer = face::verify(first.embedding, second.embedding, pipeline.space().threshold_at(1e-3));
    std::cout << (answer ? "same person" : "different people") << ": similarity " << answer.similarity << ", threshold "
              << answer.threshold.similarity << " (false-accept rate " << answer.threshold.far << ", measured on "
              << answer.threshold.measured_on << ")\n";
    return answer ? 0 : 1;
  } catch (const face::Error &error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
