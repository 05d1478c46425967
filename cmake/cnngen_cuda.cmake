# Networks on NVIDIA GPUs: finds CUDA and cuDNN, enables CUDA, and defines cnngen_library() for cnngen_network().
#
# Options
#   CMAKE_CUDA_ARCHITECTURES  such as "80;90": machine code for each, PTX for the last; default: 75 to 120
#   CUDACXX, CMAKE_CUDA_COMPILER, CUDNN_ROOT: where things are
#
# CUDA is looked for in this order: an explicit compiler, the wheels of the Python at hand, CUDA_HOME,
# CONDA_PREFIX, /usr/local/cuda, the system. cuDNN: CUDNN_ROOT, its wheel, CONDA_PREFIX, CUDA's place, the system.

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

string(REGEX MATCH "^[0-9]+" cnngen_cuda_major "${CMAKE_CUDA_COMPILER_VERSION}")
set(cnngen_cuda "${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT}" "${cnngen_overlay}" "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}"
                "$ENV{CONDA_PREFIX}" /usr/local/cuda)
set(cnngen_cudnn "$ENV{CUDNN_ROOT}" "${CUDNN_ROOT}" "${cnngen_overlay}/cudnn" "$ENV{CONDA_PREFIX}" ${cnngen_cuda})
foreach(places IN ITEMS cnngen_cuda cnngen_cudnn)
  list(REMOVE_ITEM ${places} "" "/cudnn")
  list(REMOVE_DUPLICATES ${places})
endforeach()
cnngen_find(CUDART cuda_runtime.h EXTRA cuda13 NAMES libcudart.so.${cnngen_cuda_major} cudart HINTS ${cnngen_cuda})
cnngen_find(CUBLASLT cublasLt.h EXTRA cuda13 NAMES libcublasLt.so.${cnngen_cuda_major} cublasLt HINTS ${cnngen_cuda})
cnngen_find(NVRTC nvrtc.h EXTRA cuda13 NAMES libnvrtc.so.${cnngen_cuda_major} nvrtc HINTS ${cnngen_cuda})
cnngen_find(CUDNN cudnn.h EXTRA cuda13 NAMES libcudnn.so.9 cudnn HINTS ${cnngen_cudnn})

function(cnngen_library name)
  set(headers "${CNNGEN_CUDNN_INCLUDE_DIR}" "${CNNGEN_CUDART_INCLUDE_DIR}" "${CNNGEN_CUBLASLT_INCLUDE_DIR}")
  # network.cu launches kernels but holds none: the C++ compiler takes it in a third of nvcc's time. It runs once a
  # start, so that little optimisation will do.
  cnngen_real_architectures(architectures ${cnngen_architectures})
  set_source_files_properties(src/network.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -O1)
  add_library(${name}_host OBJECT src/network.cu)
  file(GLOB kernels CONFIGURE_DEPENDS src/kernels*.cu)
  add_library(${name}_cuda STATIC ${kernels} $<TARGET_OBJECTS:${name}_host>)
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
  cnngen_include(${name} INTERFACE ${headers})
  foreach(target IN ITEMS ${name}_host ${name}_cuda)
    cnngen_include(${target} PRIVATE ${headers})
    cnngen_compile_options(${target})
    set_target_properties(
      ${target} PROPERTIES CUDA_RUNTIME_LIBRARY None CUDA_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
                           VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON)
  endforeach()
  cnngen_link(${name})
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
  # First the wheels beside which the package is installed, then those that it was built with.
  set(beside "$ORIGIN/../nvidia/cu${cnngen_cuda_major}/lib" "$ORIGIN/../nvidia/cudnn/lib")
  set_target_properties(${name} PROPERTIES CNNGEN_MODULE_RPATH "${beside};${folders}")
endfunction()

# 80 90 -> 80-real 90: machine code for every number, PTX for the last alone. Anything else stays as it is.
function(cnngen_real_architectures result)
  set(list ${ARGN})
  list(POP_BACK list last)
  list(TRANSFORM list APPEND -real REGEX "^[0-9]+[af]?$")
  set(${result} ${list} ${last} PARENT_SCOPE)
endfunction()
