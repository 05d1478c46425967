// What generated pointwise kernels use: element types, the functions of a number, and when to share work.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "cnngen/cpu/functions.hpp"
#include "cnngen/cpu/kernels/element.hpp"
