# find_package(cnngen): cnngen_add_network(<target> <spec.yaml> [TARGET cuda|cpu]). Where this is: `cnngen cmake-dir`.
include("${CMAKE_CURRENT_LIST_DIR}/cnngen_network.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/cnngen_add_network.cmake")
