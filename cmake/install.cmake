# What `cmake --install` puts where: docs/install.md. Four components: hsmux_program, hsmux_runtime (libhsmux.so.N),
# hsmux_metrics (libhsmux-metrics.so.N, which needs an HTTP server's library), hsmux_development (headers, static libraries, what find_package and pkg-config read).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(HSMUX_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/hsmux")
set(HSMUX_STATIC_TARGETS hsmux_events hsmux_slots hsmux_mechanisms hsmux_engine)

install(TARGETS hsmux_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT hsmux_program)
install(TARGETS hsmux EXPORT hsmux-c
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT hsmux_runtime NAMELINK_COMPONENT hsmux_development
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
foreach(target ${HSMUX_STATIC_TARGETS})
  string(REPLACE hsmux_ "" name ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
endforeach()
install(TARGETS ${HSMUX_STATIC_TARGETS} EXPORT hsmux-engine
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT hsmux_development
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

set_target_properties(hsmux_metrics PROPERTIES EXPORT_NAME metrics INSTALL_RPATH "$ORIGIN")
install(TARGETS hsmux_metrics EXPORT hsmux-metrics
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT hsmux_metrics NAMELINK_COMPONENT hsmux_development
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

# Three sets: whoever uses the C ABI needs nothing of what the others are linked with.
foreach(set c engine metrics)
  install(EXPORT hsmux-${set} NAMESPACE hsmux:: FILE hsmux-${set}.cmake
    DESTINATION "${HSMUX_CMAKE_DIR}" COMPONENT hsmux_development)
endforeach()
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/hsmuxConfig.cmake.in" "${PROJECT_BINARY_DIR}/install/hsmuxConfig.cmake"
  INSTALL_DESTINATION "${HSMUX_CMAKE_DIR}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break interfaces (CHANGELOG.md).
write_basic_package_version_file("${PROJECT_BINARY_DIR}/install/hsmuxConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/install/hsmuxConfig.cmake" "${PROJECT_BINARY_DIR}/install/hsmuxConfigVersion.cmake"
  DESTINATION "${HSMUX_CMAKE_DIR}" COMPONENT hsmux_development)

# pkg-config finds the prefix from where its file lies, so that the tree can be moved.
set(HSMUX_PC_DIR "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}/${HSMUX_PC_DIR}"
  OUTPUT_VARIABLE HSMUX_PC_LIBDIR)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}/${HSMUX_PC_DIR}"
  OUTPUT_VARIABLE HSMUX_PC_INCLUDEDIR)
foreach(name hsmux hsmux-engine hsmux-metrics)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in" "${PROJECT_BINARY_DIR}/install/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/install/${name}.pc" DESTINATION "${HSMUX_PC_DIR}" COMPONENT hsmux_development)
endforeach()

install(CODE "
  set(HSMUX_SOURCE_DIR \"${PROJECT_SOURCE_DIR}\")
  set(HSMUX_STAGE_DIR \"${PROJECT_BINARY_DIR}/install/include\")
  set(HSMUX_INCLUDE_DIR \"${CMAKE_INSTALL_INCLUDEDIR}\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/install_headers.cmake\")" COMPONENT hsmux_development)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT hsmux_development)
