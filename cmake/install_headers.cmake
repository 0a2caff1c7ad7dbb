# Installs the front doors (the C ABI, the C++ engine, the metrics) and the headers that they include, and no others, as
# hsmux/FOLDER/FILE.h. The sources say "slots/error.h", seen from the root; installed headers say "../slots/error.h", so
# that a user's include path gets no folders named slots, engine or metrics, which could hide the user's own.
# Run by `cmake --install`; needs HSMUX_SOURCE_DIR, HSMUX_STAGE_DIR, HSMUX_INCLUDE_DIR.
cmake_policy(PUSH)
cmake_policy(VERSION 3.25)
cmake_path(ABSOLUTE_PATH HSMUX_INCLUDE_DIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}")
set(left engine/hsmux.h engine/engine.h metrics/hsmux_metrics.h)
set(seen)
file(REMOVE_RECURSE "${HSMUX_STAGE_DIR}")
while(left)
  list(POP_FRONT left header)
  list(APPEND seen "${header}")
  # Semicolons and brackets mean something to CMake's lists: the text is never one.
  file(READ "${HSMUX_SOURCE_DIR}/${header}" text)
  file(STRINGS "${HSMUX_SOURCE_DIR}/${header}" includes REGEX "^#include \"[a-z]+/[a-z0-9_]+\\.h\"")
  foreach(line IN LISTS includes)
    string(REGEX REPLACE "^#include \"([^\"]+)\".*" "\\1" included "${line}")
    string(REPLACE "#include \"${included}\"" "#include \"../${included}\"" text "${text}")
    if(NOT included IN_LIST seen AND NOT included IN_LIST left)
      list(APPEND left "${included}")
    endif()
  endforeach()
  file(WRITE "${HSMUX_STAGE_DIR}/${header}" "${text}")
  cmake_path(GET header PARENT_PATH folder)
  file(INSTALL "${HSMUX_STAGE_DIR}/${header}" DESTINATION "${HSMUX_INCLUDE_DIR}/hsmux/${folder}")
endwhile()
cmake_policy(POP)
