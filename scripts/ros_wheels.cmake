# SPDX-License-Identifier: Apache-2.0
# Repairs the CMake exports of the ROS 2 wheels, which name the Python and NumPy headers of the machine they were built
# on. Loaded into every package through -DCMAKE_PROJECT_INCLUDE, it changes nothing in the environment: at the end of the
# package's CMakeLists.txt, before anything is generated, the foreign directories are replaced in the imported targets.

function(pwm_repair_include_directories)
  find_package(Python3 REQUIRED COMPONENTS Interpreter Development NumPy)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT directories)
      continue()
    endif()
    set(repaired ${directories})
    list(TRANSFORM repaired REPLACE "^/opt/python/.*/include/python3\\.[0-9]+$" "${Python3_INCLUDE_DIRS}")
    list(TRANSFORM repaired REPLACE "^/opt/.*/numpy/_?core/include$" "${Python3_NumPy_INCLUDE_DIRS}")
    if(NOT repaired STREQUAL directories)
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${repaired}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL pwm_repair_include_directories)
