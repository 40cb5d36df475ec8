"""Control videos: edges, depth or skeletons of a source, for the IC-LoRAs that follow them.

Dimension key of array names in this package:

    T  frames              K  joints of a person, in the order of skeleton.JOINTS
    H  height, pixels      X  x and y in pixels, and how sure it is, 0 to 1
    W  width, pixels       C  colour channels (RGB)
    P  people
"""
