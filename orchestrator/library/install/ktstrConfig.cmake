# ktstr::ktstr, with what it needs. Relative to where this file is installed: PREFIX/lib/cmake/ktstr.
get_filename_component(_ktstr_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
find_package(PkgConfig REQUIRED)
pkg_check_modules(KTSTR_NEEDS REQUIRED IMPORTED_TARGET capnp-rpc zlib gtest)

if(NOT TARGET ktstr::ktstr)
  add_library(ktstr::ktstr STATIC IMPORTED)
  set_target_properties(ktstr::ktstr PROPERTIES
    IMPORTED_LOCATION "${_ktstr_prefix}/lib/libktstr.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_ktstr_prefix}/include;${_ktstr_prefix}/include/ktstr"
    INTERFACE_LINK_LIBRARIES PkgConfig::KTSTR_NEEDS)
endif()
set(ktstr_FOUND TRUE)
