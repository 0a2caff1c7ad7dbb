/* What the C programs under test check with: tells of each failure, and counts them. */
#ifndef HSMUX_TESTS_C_API_CHECK_H
#define HSMUX_TESTS_C_API_CHECK_H

#include <stdio.h>

static int failures = 0;
#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                  \
      ++failures;                                                                                                      \
    }                                                                                                                  \
  } while (0)

#endif
