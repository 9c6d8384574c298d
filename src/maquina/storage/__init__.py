"""(charter to come)"""
