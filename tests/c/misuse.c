/* Reads behind the end of memory: a sanitizer that is really there ends it. */
#include <face.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
  (void)argv;
  char *text = (char *)malloc(4);
  if (!text)
    return 0;
  text[0] = '0';
  printf("%d %s\n", text[3 + argc], face_version());
  free(text);
  return 0;
}
