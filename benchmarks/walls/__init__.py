"""Do key points lie on the walls, and are the walls of every type found?"""
