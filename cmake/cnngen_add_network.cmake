# cnngen_add_network(<target> <spec.yaml> [TARGET cuda|cpu])
#
# Generates the spec's C++ project below the current binary folder and adds it: <target>::<target> is the library. It
# runs on GPUs, or on the CPU; where TARGET does not say, on GPUs if one is present or CMAKE_CUDA_ARCHITECTURES is set.
# It is generated while configuring; when the spec, its weights or cnngen change, the next build configures again.
function(cnngen_add_network target spec)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "TARGET" "")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "cnngen_add_network(${target}): what is ${arg_UNPARSED_ARGUMENTS}? TARGET cuda or cpu may follow")
  endif()
  if(NOT arg_TARGET)
    set(arg_TARGET auto)
    if(CMAKE_CUDA_ARCHITECTURES OR DEFINED ENV{CUDAARCHS})
      set(arg_TARGET cuda)
    endif()
  endif()
  cmake_path(ABSOLUTE_PATH spec)
  set(own "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.venv/bin")
  if(CMAKE_CURRENT_FUNCTION_LIST_DIR MATCHES "/site-packages/cnngen/cmake$")
    set(own "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../../../../../bin")
  endif()
  find_program(CNNGEN_EXECUTABLE cnngen HINTS "${own}" "$ENV{VIRTUAL_ENV}/bin")
  if(NOT CNNGEN_EXECUTABLE)
    message(FATAL_ERROR "the program cnngen was not found; set CNNGEN_EXECUTABLE")
  endif()
  set(output "${CMAKE_CURRENT_BINARY_DIR}/cnngen/${target}")
  execute_process(
    COMMAND "${CNNGEN_EXECUTABLE}" generate "${spec}" --target ${arg_TARGET} --output "${output}"
            --depfile "${output}/generated.d"
    RESULT_VARIABLE failed
    OUTPUT_VARIABLE log
    ERROR_VARIABLE log)
  if(failed)
    string(REPLACE "\n" "\n  " log "${log}") # indented text is not broken into lines again
    message(FATAL_ERROR "cnngen_add_network(${target}):\n  ${log}")
  endif()

  # <project>/CMakeLists.txt: <what it was made from, a line each>
  file(READ "${output}/generated.d" rule)
  string(REGEX REPLACE "\\\\ " "?" rule "${rule}")
  string(REGEX MATCH "^([^:]+)/CMakeLists.txt:" _ "${rule}")
  string(REPLACE "?" " " project "${CMAKE_MATCH_1}")
  string(REGEX REPLACE "^[^:]+:" "" rule "${rule}")
  string(REGEX MATCHALL "[^ \\\n]+" inputs "${rule}")
  list(TRANSFORM inputs REPLACE "[?]" " ")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${inputs})

  add_subdirectory("${project}" "${output}/build")
  cmake_path(GET project FILENAME name)
  if(NOT TARGET ${target}::${target})
    add_library(${target}::${target} ALIAS ${name})
  endif()
endfunction()
