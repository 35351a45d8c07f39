/* The older name of arenascope-mark.h, which has `arenascope_mark("name")` and more. */
#ifndef ARENASCOPE_MARK_H
#define ARENASCOPE_MARK_H

#include "arenascope-mark.h"

#endif
