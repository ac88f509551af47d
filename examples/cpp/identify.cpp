// Who is on a photo? Enrols people from photos named after them, and looks everybody up.
//
//   c++ -std=c++17 identify.cpp $(pkg-config --cflags --libs face) -o identify
//   ./identify people.face party.jpg ada.jpg ben.jpg
//
// The gallery is made when it is not there; without photos of people it is only asked.
#include <face.hpp>
#include <filesystem>
#include <iostream>

int main(int argc, char **argv)
{
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " GALLERY PHOTO [PERSON.jpg ...]\n";
    return 2;
  }
  try {
    const face::Pipeline pipeline;
    face::Gallery gallery = std::filesystem::exists(argv[1]) ? face::Gallery::open(argv[1])
                                                             : face::Gallery::create(argv[1], pipeline.space());
    for (int i = 3; i < argc; i++) {
      const std::string name = std::filesystem::path(argv[i]).stem().string();
      const face::Face face = pipeline.analyze_largest(face::Image::open(argv[i]));
      if (!gallery.find(name))
        gallery.enroll(name, {{face.embedding, argv[i], face.detection.score}});
    }
    int number = 0;
    for (const face::Face &face : pipeline.analyze(face::Image::open(argv[2])).faces()) {
      const face::Identification answer = gallery.identify(face.embedding);
      std::cout << "face " << ++number << ": ";
      if (const face::Candidate *person = answer.best_match())
        std::cout << person->name << " (similarity " << person->similarity << ")\n";
      else
        std::cout << "nobody who is enrolled\n";
    }
    return 0;
  } catch (const face::Error &error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
