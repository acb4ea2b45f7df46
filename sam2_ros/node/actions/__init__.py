# SPDX-License-Identifier: Apache-2.0
"""The actions of the node, for behaviour trees and other clients that wait for an object.

Knows the states of objects and their positions; does not know images.
"""
