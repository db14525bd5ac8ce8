"""What the models look like: sky, floor tiles and materials."""


def visual(*, extent: float, center: str) -> str:
    """Elements `statistic` and `visual`: light, fog and the size of the offscreen buffer."""
    return f"""<statistic extent="{extent}" center="{center}"/>
<visual>
  <global offwidth="1920" offheight="1080"/>
  <quality shadowsize="8192" offsamples="4"/>
  <headlight ambient="0.38 0.38 0.40" diffuse="0.38 0.38 0.38" specular="0.1 0.1 0.1"/>
  <map znear="0.02" zfar="40" shadowclip="2"/>
  <rgba haze="0.86 0.90 0.95 1"/>
</visual>"""


def ground(light: str, dark: str, mark: str, tile: float) -> str:
    """Sky and a floor of square tiles in two colours, each `tile` metres wide."""
    repeat = 0.5 / tile  # the texture holds two tiles each way
    return f"""<texture name="sky" type="skybox" builtin="gradient" rgb1="0.62 0.75 0.90" rgb2="0.93 0.95 0.97"
    width="256" height="256"/>
  <texture name="tiles" type="2d" builtin="checker" rgb1="{light}" rgb2="{dark}" mark="edge" markrgb="{mark}"
    width="512" height="512"/>
  <material name="floor" texture="tiles" texrepeat="{repeat} {repeat}" texuniform="true"/>"""


# Materials of the planar models.
PAINTS = """<material name="shell" rgba="0.93 0.94 0.95 1" specular="0.4" shininess="0.5"/>
  <material name="metal" rgba="0.45 0.48 0.52 1" specular="0.5" shininess="0.6"/>
  <material name="dark" rgba="0.16 0.17 0.20 1" specular="0.3" shininess="0.4"/>
  <material name="near" rgba="0.91 0.45 0.16 1" specular="0.3" shininess="0.4"/>
  <material name="far" rgba="0.20 0.43 0.67 1" specular="0.3" shininess="0.4"/>"""
