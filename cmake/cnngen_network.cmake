# How a generated network is built: cnngen_network(<name> TARGET cuda|cpu [MODULE name]). What a target needs stands in
# cnngen_cuda.cmake and cnngen_cpu.cmake, and is looked for when a network for it comes.
#
# Included by the CMakeLists.txt of every generated project (from its own copy under cnngen/cmake, or from the
# checkout that the project lies in) and by find_package(cnngen).
#
# Options
#   CNNGEN_PYTHON             build the Python module; ON for a project of its own, OFF inside another
#   CNNGEN_OBJECTS            a folder that may hold what is the same for all networks, compiled: `cnngen build` keeps it
#   CNNGEN_WERROR             -Wall -Wextra -Werror for every compiler
#   CNNGEN_<part>_LIBRARY, CNNGEN_<part>_INCLUDE_DIR: where things are
#   and the target's own, at the head of its file

option(CNNGEN_WERROR "Treat every warning of generated code and runtime as an error" OFF)
set(cnngen_cmake "${CMAKE_CURRENT_LIST_DIR}")

# The Python whose wheels are looked at, and that the module is for: the given one, the one that this cnngen is
# installed in, the active environment's, the first on the PATH.
if(NOT Python_EXECUTABLE)
  set(own "${CMAKE_CURRENT_LIST_DIR}/../.venv/bin")
  if(CMAKE_CURRENT_LIST_DIR MATCHES "/site-packages/cnngen/cmake$")
    set(own "${CMAKE_CURRENT_LIST_DIR}/../../../../../bin")
  endif()
  find_program(CNNGEN_INTERPRETER python3 HINTS "${own}" "$ENV{VIRTUAL_ENV}/bin")
  if(CNNGEN_INTERPRETER)
    set(Python_EXECUTABLE "${CNNGEN_INTERPRETER}")
  endif()
endif()

# One library and its headers; an argument that was given wins, then the places in order.
function(cnngen_find part header)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "EXTRA" "NAMES;HINTS")
  find_library(CNNGEN_${part}_LIBRARY NAMES ${arg_NAMES} HINTS ${arg_HINTS}
               PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
  find_path(CNNGEN_${part}_INCLUDE_DIR ${header} HINTS ${arg_HINTS}
            PATH_SUFFIXES include targets/x86_64-linux/include)
  if(NOT CNNGEN_${part}_LIBRARY OR NOT CNNGEN_${part}_INCLUDE_DIR)
    list(JOIN arg_HINTS ", " looked)
    message(FATAL_ERROR "${header} with its library (${arg_NAMES}) was not found in ${looked} or the system. "
                        "Install it with: pip install 'cnngen[${arg_EXTRA}]', or set CNNGEN_${part}_LIBRARY and "
                        "CNNGEN_${part}_INCLUDE_DIR")
  endif()
endfunction()

# The targets of the generated project in the current folder:
#   <name>::<name>   the C++ library with its headers
#   <name>_core      the Python module _core (CNNGEN_PYTHON), put into the folder, which is then importable
# The property CNNGEN_WEIGHTS of <name> is the path of the packed weights. MODULE: the runtime's part of the Python
# module, a file among its headers; "none": src/bindings.cpp is all of it.
# A macro, since a language can be enabled in the scope of a folder only.
macro(cnngen_network name)
  cmake_parse_arguments(cnngen "" "TARGET;MODULE" "" ${ARGN})
  include("${cnngen_cmake}/cnngen_${cnngen_TARGET}.cmake")
  cnngen_library(${name})
  set_target_properties(${name} PROPERTIES CNNGEN_WEIGHTS
                                           "${CMAKE_CURRENT_SOURCE_DIR}/${name}.weights.safetensors")
  if(CNNGEN_PYTHON)
    cnngen_python_module(${name} "${cnngen_TARGET}" "${cnngen_MODULE}")
  endif()
endmacro()

# Headers of the project and of the runtime, and folders of other headers.
function(cnngen_include target scope)
  set(runtime "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include")
  cmake_path(NORMAL_PATH runtime)
  target_include_directories(${target} ${scope} "${CMAKE_CURRENT_SOURCE_DIR}/include" "${runtime}")
  target_include_directories(${target} SYSTEM ${scope} ${ARGN})
endfunction()

function(cnngen_python_module name target module)
  if(NOT pybind11_DIR)
    execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir OUTPUT_VARIABLE pybind11_DIR
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(PYBIND11_FINDPYTHON ON)
  find_package(pybind11 3 CONFIG QUIET)
  if(NOT pybind11_FOUND)
    message(FATAL_ERROR "pybind11 3 or newer was not found for ${Python_EXECUTABLE}. Install it with: "
                        "pip install 'pybind11>=3', or build the C++ library alone with -DCNNGEN_PYTHON=OFF")
  endif()

  if(NOT module)
    set(module module)
  endif()
  if(module STREQUAL "none")
    set(common "")
  elseif(EXISTS "${CNNGEN_OBJECTS}/${module}.o")
    set(common "${CNNGEN_OBJECTS}/${module}.o")
    set_source_files_properties("${common}" PROPERTIES EXTERNAL_OBJECT ON)
  else()
    set(common "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include/cnngen/${target}/${module}.cpp")
    cmake_path(NORMAL_PATH common)
  endif()
  # NO_EXTRAS: link-time optimisation would double the time and gain nothing, the work is elsewhere.
  pybind11_add_module(${name}_core MODULE NO_EXTRAS src/bindings.cpp ${common})
  # Nothing in it runs long enough to gain from more, and it is the longest to compile.
  set_source_files_properties(src/bindings.cpp ${common} PROPERTIES COMPILE_OPTIONS -O1)
  cnngen_compile_options(${name}_core)
  target_link_libraries(${name}_core PRIVATE ${name})
  get_target_property(search_path ${name} CNNGEN_MODULE_RPATH)
  set_target_properties(
    ${name}_core
    PROPERTIES OUTPUT_NAME _core
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               BUILD_WITH_INSTALL_RPATH ON
               INSTALL_RPATH "${search_path}")
  if(SKBUILD)
    cnngen_install_package(${name})
  else()
    set_target_properties(${name}_core PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
endfunction()

# What `pip install` of the project takes.
function(cnngen_install_package name)
  get_target_property(weights ${name} CNNGEN_WEIGHTS)
  if(NOT EXISTS "${weights}")
    message(FATAL_ERROR "${weights} is not there: weights are not committed. Write them with: cnngen generate SPEC")
  endif()
  set(folder "${CMAKE_CURRENT_SOURCE_DIR}")
  file(GLOB python CONFIGURE_DEPENDS "${folder}/*.py" "${folder}/*.pyi" "${folder}/py.typed")
  install(TARGETS ${name}_core DESTINATION ${name})
  install(FILES "${weights}" ${python} DESTINATION ${name})
  if(IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/plans")
    install(DIRECTORY plans DESTINATION ${name})
  endif()
endfunction()

function(cnngen_compile_options target)
  # Not by CXX_STANDARD, which stands for CUDA too: CMake 3.25 does not know that nvcc has C++20.
  target_compile_options(${target} PRIVATE -std=c++20)
  if(CNNGEN_WERROR)
    target_compile_options(
      ${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Werror>
                        $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror;--Werror=all-warnings>)
  endif()
  find_program(CNNGEN_CCACHE ccache)
  if(CNNGEN_CCACHE AND PROJECT_IS_TOP_LEVEL)
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER "${CNNGEN_CCACHE}"
                                               CUDA_COMPILER_LAUNCHER "${CNNGEN_CCACHE}")
  endif()
endfunction()
