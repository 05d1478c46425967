# How a generated network is built: finds CUDA and cuDNN, enables CUDA, and defines cnngen_network().
#
# Included by the CMakeLists.txt of every generated project (from its own copy under cnngen/cmake, or from the
# checkout that the project lies in) and by find_package(cnngen).
#
# Options
#   CMAKE_CUDA_ARCHITECTURES  such as "80;90": machine code for each, PTX for the last; default: 75 to 120
#   CNNGEN_PYTHON             build the Python module; ON for a project of its own, OFF inside another
#   CNNGEN_WERROR             -Wall -Wextra -Werror for g++ and nvcc
#   CUDACXX, CMAKE_CUDA_COMPILER, CUDNN_ROOT, CNNGEN_<part>_LIBRARY, CNNGEN_<part>_INCLUDE_DIR: where things are
#
# CUDA is looked for in this order: an explicit compiler, the wheels of the Python at hand, CUDA_HOME,
# CONDA_PREFIX, /usr/local/cuda, the system. cuDNN: CUDNN_ROOT, its wheel, CONDA_PREFIX, CUDA's place, the system.

option(CNNGEN_WERROR "Treat every warning of generated code and runtime as an error" OFF)

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

# NVIDIA's wheels have no lib64 and no unversioned libraries; overlay.py makes a folder that does, once.
set(cnngen_overlay "")
foreach(script IN ITEMS "${CMAKE_CURRENT_LIST_DIR}/overlay.py" "${CMAKE_CURRENT_LIST_DIR}/../codegen/overlay.py")
  if(Python_EXECUTABLE AND EXISTS "${script}")
    # -I: the environment itself, not what an isolated build puts before it.
    execute_process(COMMAND "${Python_EXECUTABLE}" -I "${script}"
                    OUTPUT_VARIABLE cnngen_overlay OUTPUT_STRIP_TRAILING_WHITESPACE)
    break()
  endif()
endforeach()

set(cnngen_architectures "${CMAKE_CUDA_ARCHITECTURES}")
get_property(cnngen_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
if(NOT "CUDA" IN_LIST cnngen_languages)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(
      CNNGEN_NVCC nvcc
      HINTS "${cnngen_overlay}/bin" "$ENV{CUDA_HOME}/bin" "$ENV{CUDA_PATH}/bin" "$ENV{CONDA_PREFIX}/bin"
            /usr/local/cuda/bin)
    if(NOT CNNGEN_NVCC)
      message(FATAL_ERROR "nvcc was not found in the wheels of ${Python_EXECUTABLE}, CUDA_HOME, CONDA_PREFIX, "
                          "/usr/local/cuda or the PATH. Install it with: pip install 'cnngen[cuda13]', "
                          "or give its path with -DCMAKE_CUDA_COMPILER=.../nvcc")
    endif()
    set(CMAKE_CUDA_COMPILER "${CNNGEN_NVCC}")
  endif()
  enable_language(CUDA)
endif()

if(NOT cnngen_architectures)
  if(DEFINED ENV{CUDAARCHS})
    set(cnngen_architectures "$ENV{CUDAARCHS}")
  elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    set(cnngen_architectures 75 80 86 89 90)
  else()
    set(cnngen_architectures 75 80 86 89 90 100 120)
  endif()
endif()

# One library and its headers; an argument that was given wins, then the places in order.
function(cnngen_find part header)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "NAMES;HINTS")
  find_library(CNNGEN_${part}_LIBRARY NAMES ${arg_NAMES} HINTS ${arg_HINTS}
               PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
  find_path(CNNGEN_${part}_INCLUDE_DIR ${header} HINTS ${arg_HINTS}
            PATH_SUFFIXES include targets/x86_64-linux/include)
  if(NOT CNNGEN_${part}_LIBRARY OR NOT CNNGEN_${part}_INCLUDE_DIR)
    list(JOIN arg_HINTS ", " looked)
    message(FATAL_ERROR "${header} with its library (${arg_NAMES}) was not found in ${looked} or the system. "
                        "Install it with: pip install 'cnngen[cuda13]', or set CNNGEN_${part}_LIBRARY and "
                        "CNNGEN_${part}_INCLUDE_DIR")
  endif()
endfunction()

string(REGEX MATCH "^[0-9]+" cnngen_cuda_major "${CMAKE_CUDA_COMPILER_VERSION}")
set(cnngen_cuda "${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT}" "${cnngen_overlay}" "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}"
                "$ENV{CONDA_PREFIX}" /usr/local/cuda)
set(cnngen_cudnn "$ENV{CUDNN_ROOT}" "${CUDNN_ROOT}" "${cnngen_overlay}/cudnn" "$ENV{CONDA_PREFIX}" ${cnngen_cuda})
foreach(places IN ITEMS cnngen_cuda cnngen_cudnn)
  list(REMOVE_ITEM ${places} "" "/cudnn")
  list(REMOVE_DUPLICATES ${places})
endforeach()
cnngen_find(CUDART cuda_runtime.h NAMES libcudart.so.${cnngen_cuda_major} cudart HINTS ${cnngen_cuda})
cnngen_find(CUBLASLT cublasLt.h NAMES libcublasLt.so.${cnngen_cuda_major} cublasLt HINTS ${cnngen_cuda})
cnngen_find(NVRTC nvrtc.h NAMES libnvrtc.so.${cnngen_cuda_major} nvrtc HINTS ${cnngen_cuda})
cnngen_find(CUDNN cudnn.h NAMES libcudnn.so.9 cudnn HINTS ${cnngen_cudnn})

# The targets of the generated project in the current folder:
#   <name>::<name>   the C++ library with its headers
#   <name>_core      the Python module _core (CNNGEN_PYTHON), put into the folder, which is then importable
# The property CNNGEN_WEIGHTS of <name> is the path of the packed weights.
function(cnngen_network name)
  # network.cu launches kernels but holds none: the C++ compiler takes it in a third of nvcc's time. It runs once a
  # start, so that little optimisation will do.
  cnngen_real_architectures(architectures ${cnngen_architectures})
  set_source_files_properties(src/network.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -O1)
  add_library(${name}_host OBJECT src/network.cu)
  add_library(${name}_cuda STATIC src/kernels.cu $<TARGET_OBJECTS:${name}_host>)
  set_target_properties(${name}_cuda PROPERTIES CUDA_ARCHITECTURES "${architectures}")
  list(LENGTH architectures count)
  if(count GREATER 1)
    target_compile_options(${name}_cuda PRIVATE --threads=0)
  endif()

  # Users link the archive by its file, so that they need not enable CUDA in their own project.
  add_library(${name} INTERFACE)
  add_library(${name}::${name} ALIAS ${name})
  add_dependencies(${name} ${name}_cuda)
  target_compile_features(${name} INTERFACE cxx_std_20)
  cnngen_include(${name} INTERFACE)
  foreach(target IN ITEMS ${name}_host ${name}_cuda)
    cnngen_include(${target} PRIVATE)
    cnngen_compile_options(${target})
    set_target_properties(
      ${target} PROPERTIES CUDA_RUNTIME_LIBRARY None CUDA_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
                           VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON)
  endforeach()
  cnngen_link(${name})
  set_target_properties(${name} PROPERTIES CNNGEN_WEIGHTS
                                           "${CMAKE_CURRENT_SOURCE_DIR}/${name}.weights.safetensors")
  if(CNNGEN_PYTHON)
    cnngen_python_module(${name})
  endif()
endfunction()

function(cnngen_include target scope)
  set(runtime "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include")
  cmake_path(NORMAL_PATH runtime)
  target_include_directories(${target} ${scope} "${CMAKE_CURRENT_SOURCE_DIR}/include" "${runtime}")
  target_include_directories(
    ${target} SYSTEM ${scope} "${CNNGEN_CUDNN_INCLUDE_DIR}" "${CNNGEN_CUDART_INCLUDE_DIR}"
    "${CNNGEN_CUBLASLT_INCLUDE_DIR}")
endfunction()

# Libraries, with the search path that they need at run time.
#
# cuDNN compiles fused graphs through libnvrtc, which opens libnvrtc-builtins by name and has no search path of its
# own. It inherits ours only if it is loaded by us and ours is a DT_RPATH: hence --disable-new-dtags, and libnvrtc
# linked although nothing of ours calls it.
function(cnngen_link name)
  set(libraries)
  set(folders)
  foreach(part IN ITEMS CUDNN CUBLASLT CUDART NVRTC)
    file(REAL_PATH "${CNNGEN_${part}_LIBRARY}" library)
    cmake_path(GET library PARENT_PATH folder)
    list(APPEND libraries "${library}")
    if(NOT folder IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
      list(APPEND folders "${folder}")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES folders)
  list(POP_BACK libraries nvrtc)
  target_link_libraries(
    ${name} INTERFACE $<TARGET_FILE:${name}_cuda> ${libraries}
                      "-Wl,--push-state,--no-as-needed,${nvrtc},--pop-state" ${CMAKE_DL_LIBS} pthread)
  target_link_options(${name} INTERFACE LINKER:--disable-new-dtags)
  foreach(folder IN LISTS folders)
    target_link_options(${name} INTERFACE
                        $<$<NOT:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,MODULE_LIBRARY>>:LINKER:-rpath,${folder}>)
  endforeach()
  set_target_properties(${name} PROPERTIES CNNGEN_LIBRARY_FOLDERS "${folders}")
endfunction()

function(cnngen_python_module name)
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

  # NO_EXTRAS: link-time optimisation would double the time and gain nothing, the work is elsewhere.
  pybind11_add_module(${name}_core MODULE NO_EXTRAS src/bindings.cpp)
  # Nothing in it runs long enough to gain from more, and it is the longest to compile.
  set_source_files_properties(src/bindings.cpp PROPERTIES COMPILE_OPTIONS -O1)
  cnngen_compile_options(${name}_core)
  target_link_libraries(${name}_core PRIVATE ${name})
  get_target_property(folders ${name} CNNGEN_LIBRARY_FOLDERS)
  set_target_properties(
    ${name}_core
    PROPERTIES OUTPUT_NAME _core
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               BUILD_WITH_INSTALL_RPATH ON
               # First the wheels beside which the package is installed, then those that it was built with.
               INSTALL_RPATH "$ORIGIN/../nvidia/cu${cnngen_cuda_major}/lib;$ORIGIN/../nvidia/cudnn/lib;${folders}")
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
  file(GLOB stubs CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.pyi" "${CMAKE_CURRENT_SOURCE_DIR}/py.typed")
  install(TARGETS ${name}_core DESTINATION ${name})
  install(FILES __init__.py "${weights}" ${stubs} DESTINATION ${name})
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

# 80 90 -> 80-real 90: machine code for every number, PTX for the last alone. Anything else stays as it is.
function(cnngen_real_architectures result)
  set(list ${ARGN})
  list(POP_BACK list last)
  list(TRANSFORM list APPEND -real REGEX "^[0-9]+[af]?$")
  set(${result} ${list} ${last} PARENT_SCOPE)
endfunction()
