# Networks on the CPU: finds oneDNN and OpenMP, and defines cnngen_library() for cnngen_network().
#
# Options
#   CNNGEN_CPU_ARCH   what the kernels are compiled for, as g++ names it in -march: native (default), x86-64-v3, ...
#   DNNL_ROOT         where oneDNN 2.6 or newer is
#
# oneDNN is looked for in this order: DNNL_ROOT, the wheels of the Python at hand, CONDA_PREFIX, the system.

set(CNNGEN_CPU_ARCH native CACHE STRING "What the kernels of networks on the CPU are compiled for: -march")

set(cnngen_prefix "")
if(Python_EXECUTABLE)
  # -I: the environment itself, not what an isolated build puts before it.
  execute_process(COMMAND "${Python_EXECUTABLE}" -I -c "import sys; print(sys.prefix)"
                  OUTPUT_VARIABLE cnngen_prefix OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
set(cnngen_dnnl "${DNNL_ROOT}" "$ENV{DNNL_ROOT}" "${cnngen_prefix}" "$ENV{CONDA_PREFIX}")
list(REMOVE_ITEM cnngen_dnnl "")
list(REMOVE_DUPLICATES cnngen_dnnl)
cnngen_find(DNNL oneapi/dnnl/dnnl.hpp EXTRA cpu NAMES dnnl HINTS ${cnngen_dnnl})
find_package(OpenMP REQUIRED COMPONENTS CXX)

function(cnngen_library name)
  # Kernels alone are compiled for the CPU at hand: the rest runs on any, and says where they cannot.
  add_library(${name} STATIC src/network.cpp src/kernels.cpp)
  add_library(${name}::${name} ALIAS ${name})
  # network.cpp runs once a start, so that little optimisation will do.
  set_source_files_properties(src/network.cpp PROPERTIES COMPILE_OPTIONS -O1)
  set_source_files_properties(src/kernels.cpp PROPERTIES COMPILE_OPTIONS "${cnngen_kernel_options}")
  target_compile_features(${name} PUBLIC cxx_std_20)
  cnngen_include(${name} PUBLIC "${CNNGEN_DNNL_INCLUDE_DIR}")
  cnngen_compile_options(${name})
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
                                           POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${name} PUBLIC "${CNNGEN_DNNL_LIBRARY}" OpenMP::OpenMP_CXX ${CMAKE_DL_LIBS})
  cmake_path(GET CNNGEN_DNNL_LIBRARY PARENT_PATH folder)
  if(folder IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
    set(folder "")
  endif()
  # First the environment in which the package is installed, then the one that it was built with.
  set_target_properties(${name} PROPERTIES CNNGEN_MODULE_RPATH "$ORIGIN/../../..;${folder}")
endfunction()

# Floating-point exceptions and errno are nobody's concern in a kernel, and stand in the way of vectors.
set(cnngen_kernel_options -O3 "-march=${CNNGEN_CPU_ARCH}" -fno-math-errno -fno-trapping-math)
