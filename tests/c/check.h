/* What the C tests have in common. Valid as C11 and as C++17. */
#ifndef CHECK_H
#define CHECK_H

#include <face.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CHECKED_BY_THREADS
/* Several threads check; none counts. */
#define COUNT_CHECK() ((void)0)
#else
static unsigned long checks_made = 0;
#define COUNT_CHECK() ((void)checks_made++)
#endif

#define CHECK(condition) \
  do { \
    COUNT_CHECK(); \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, face_last_error()); \
      exit(1); \
    } \
  } while (0)

/* It works, and leaves no message. */
#define WORKS(call) \
  do { \
    const face_status_t status_ = (face_status_t)(call); \
    CHECK(status_ == FACE_STATUS_OK); \
    CHECK(face_last_error()[0] == '\0'); \
  } while (0)

/* It fails with this status, and its message begins with the function's name. */
#define FAILS(call, expected) \
  do { \
    const face_status_t status_ = (face_status_t)(call); \
    if (status_ != (expected)) \
      fprintf(stderr, "%s gives %s\n", #call, face_status_name((int32_t)status_)); \
    CHECK(status_ == (expected)); \
    CHECK(strncmp(face_last_error(), #call, strcspn(#call, "(")) == 0); \
  } while (0)

#define IS_NULL(call) FAILS(call, FACE_STATUS_NULL_POINTER)
#define IS_INVALID(call) FAILS(call, FACE_STATUS_INVALID_ARGUMENT)

/* A small question that fails: its answer is that of a failure, and there is a message. */
#define REFUSES(answer, call) \
  do { \
    CHECK((call) == (answer)); \
    CHECK(strncmp(face_last_error(), #call, strcspn(#call, "(")) == 0); \
  } while (0)

/* A place for a result that no failure may touch. */
#define UNTOUCHED(type) ((type *)(uintptr_t)0x1234)

#endif
