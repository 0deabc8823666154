"""What people say of a degraded picture, task by task: the words that `prompts` puts together.

``verbs`` are followed by a picture ("denoise" + "my photo"); ``defects`` are things to be removed; ``looks``
complete "the picture is ..."; ``goals`` complete "make the picture ..."; ``stories`` and ``orders`` are
whole sentences, what happened and what an expert would order. ``clues`` are beginnings of words and whole
phrases that give a task away: a prompt that holds those of no task, or of two, is ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """One task's words."""

    verbs: tuple[str, ...]
    defects: tuple[str, ...]
    looks: tuple[str, ...]
    goals: tuple[str, ...]
    stories: tuple[str, ...]
    orders: tuple[str, ...]
    clues: tuple[str, ...]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


PHRASES = {
    "denoise": Phrases(
        verbs=(
            "filter the noise out of",
            "smooth the grain of",
            "denoise",
            "remove the noise from",
            "clean the grain from",
            "degrain",
            "smooth out the noise in",
        ),
        defects=_lines("""
            noise
            the noise
            the grain
            the graininess
            all this film grain
            the little dots
            the tiny specks
            the speckles in the dark areas
            the salt and pepper noise
            the sensor noise
            the high ISO noise
            the colour noise
            the coloured speckle
            the sandy texture
            the static
            the digital noise in the sky
            the random spots of colour
        """),
        looks=_lines("""
            gritty and speckled
            sprinkled with dots
            noisy
            very grainy
            full of noise
            full of grain
            covered in tiny dots
            speckled
            spoiled by high ISO noise
            as grainy as an old film
            full of static, like an untuned television
            sprinkled with coarse grains
            granular
            noisy in the shadows
            rough and grainy
            dotted with coloured specks
        """),
        goals=_lines("""
            less noisy
            less grainy
            free of noise
            smooth, without grain
            clean of specks
            look as if taken at a low ISO
        """),
        stories=_lines("""
            The shadows are crawling with coloured specks.
            Each surface is dotted with little points of noise.
            It is as rough as sandpaper to look at.
            My night shots always have so much grain.
            The dark sky is littered with bright random dots.
            Salt and pepper seem to have fallen on the picture.
            There are fine grains over the faces.
            Single pixels are wrong all over the place, red, green and blue dots.
            The old security camera gives noisy frames.
            The X-ray is noisy.
            The sky is covered with specks that are not stars but noise.
            Little coloured grains dance over the shadows.
            The sensitivity was set too high, so I got grain.
            It has this gritty film look and I want it smooth.
            The night mode of my camera adds a lot of noise.
            It looks like salt was spilled on it, dots everywhere.
            Some dead and hot pixels make white dots.
            It is crackling with noise like an old radio.
            It is peppered with grains of many colours.
            There is fuzz from the high sensitivity setting.
            The pixels vary at random where one colour should be.
            The surface looks like salt and pepper.
            The film was old and coarse grain covers the faces.
            My cheap camera gives granular pictures with noise.
            It is speckled like a granite stone.
            The texture is dirty with random variations of single pixels.
            I had to push the ISO very high and now there is grain everywhere.
            The small sensor of my phone produces a lot of noise.
            There are coloured dots on skin that should be smooth.
            The plain background is not plain, it is full of specks.
            It looks like sandpaper.
            The scan of the old negative shows strong film grain.
            I see a pattern of random dots when I zoom into the sky.
            It looks like a television without a signal, only static.
            Somebody seems to have shaken pepper over my picture.
            The camera was set to ISO 6400 and the smooth areas are grainy.
            The sensor was hot and the shot is full of noise.
            Smooth surfaces have a sandy, gritty texture in it.
            Every flat colour is sprinkled with tiny speckles.
        """),
        orders=_lines("""
            Run BM3D to take out the noise
            Apply a wavelet shrinkage of the noise
            Lower the noise floor
            Use non-local means on the grain
            Reduce the variance of the noise
            Reduce Gaussian noise of standard deviation 50
            Remove additive noise with sigma 15
            Suppress photon shot noise and read noise
            Run a strong noise reduction
            Apply denoising and preserve fine texture
            Reduce chroma noise, leave the luminance grain alone
            Improve the SNR of the image
            The signal-to-noise ratio is poor, improve it
            Filter out the high ISO noise
            Remove impulse noise from the pixels
            Estimate the noise level and subtract the noise
            Perform blind denoising of the photograph
            Attenuate sensor noise while edges stay as they are
        """),
        clues=_lines("""
            nois
            denois
            grain
            degrain
            speck
            dots
            iso
            static
            sand
            gritty
            pepper
            snr
            spots of colour
        """),
    ),
    "deblur": Phrases(
        verbs=(
            "make sharp",
            "bring into focus",
            "deblur",
            "sharpen",
            "remove the blur from",
            "refocus",
            "undo the blur in",
            "fix the focus of",
        ),
        defects=_lines("""
            the blur
            the blurriness
            the motion blur
            the camera shake
            the smearing
            the defocus
            the focus error
            the streaky motion
            the soft edges
            the ghosting from the movement
            the handshake blur
            the lens blur
        """),
        looks=_lines("""
            trembled, not sharp
            a blur
            blurry and unreadable
            blurry
            out of focus
            blurred by motion
            not sharp
            unsharp
            smeared
            badly focused
            shaky
            soft and blurry
            too soft, the edges are not sharp
            blurred because I moved the camera
            defocused
            wobbly
            smudgy
            smudged by motion
        """),
        goals=_lines("""
            sharp
            sharper
            crisp and sharp
            less blurry
            look well focused
            tack sharp
            show crisp edges
        """),
        stories=_lines("""
            The writing on the whiteboard is blurred.
            I was in a moving car.
            The ball flew by and is drawn out into a line of motion.
            The exposure took a second and I could not hold still.
            The dog wagged his tail and it is a blur.
            The contours are washed out and not sharp.
            The subject is soft, the focus sits elsewhere.
            I pressed the button too hard and the phone shook.
            My hands trembled.
            The barcode cannot be scanned because it is blurred.
            The face is fuzzy from motion.
            He jumped and his feet are blurred.
            The kid ran through the frame and is blurred.
            I panned with the bike and it is streaked by motion.
            She waved and her hand is smeared.
            The cat jumped and all that is left is a streak of motion.
            The letters cannot be read because of the wobbly camera.
            I walked while taking it and it is not sharp.
            My lens focused too near, so the far things are soft.
            It is a double image from a long shutter.
            The plane was too fast for my shutter speed.
            The details are soft and lack sharpness.
            The focus is slightly off.
            The kids would not stand still.
            He ran by and left only a ghost of himself.
            My arm wobbled when I pressed the button.
            Panning went wrong and the motorbike became a streak of motion.
            I was on a boat and the shot is wobbly.
            The eyes are not in focus.
            The camera focused behind the flower.
            The writing on the sign is illegible, it is smeared.
            It is smudgy and I want clear outlines.
            The horse galloped past and its legs are smeared.
            I bumped into somebody during the exposure, so it is shaky.
            The contours are double because I moved.
            I moved the camera while pressing the button.
            The child was running and came out blurred.
            The autofocus missed the eyes.
            I cannot read the text because the shot is blurred.
            My hand was not steady during the exposure.
            The train moved too quickly for my slow shutter.
            The bird flapped its wings and they became a smear.
            The focus is on the wall instead of the person.
            The shutter was open for too long and everything moved.
            I took it from a moving bus and it is all smeared.
            The cyclist went by so fast that he is only a streak of motion.
            The number plate is unreadable, the vehicle was in motion.
            I had no tripod, so there is camera shake.
            The lens was focused on the wrong thing.
            She turned her head just then, so her face is smudged by the movement.
            The dancer moved and her outline is not sharp.
        """),
        orders=_lines("""
            Apply Wiener deconvolution
            Remove the blur of the moving object
            Correct an out of focus lens
            Apply an unsharp mask to bring the sharpness back
            Estimate the trajectory of the camera shake and reverse it
            Perform blind deconvolution with an unknown blur kernel
            Remove the linear motion blur
            Compensate the camera movement during exposure
            Apply deblurring to this frame
            Correct the defocus blur and recover sharp edges
            Deconvolve the image with its point spread function
            Restore the sharpness lost to camera shake
            The shutter speed was too slow, remove the motion trail
            Recover edge sharpness and acutance
            Stabilise this shaken frame
            Undo the optical defocus of the subject
            Invert the blur and sharpen the contours
        """),
        clues=_lines("""
            blur
            deblur
            sharp
            unsharp
            focus
            autofocus
            refocus
            defocus
            smear
            smudge
            shak
            handshake
            motion
            moved
            moving
            movement
            steady
            shutter
            deconv
            soft
            crisp
            streaky
            ghosting
            flapped
        """),
    ),
    "dehaze": Phrases(
        verbs=(
            "blow the fog out of",
            "clear the smoke from",
            "dehaze",
            "defog",
            "remove the haze from",
            "clear the fog from",
            "remove the mist from",
        ),
        defects=_lines("""
            the haze
            the fog
            the mist
            the smog
            the smoke
            the white veil in the air
            the morning mist
            the fog in the background
            the hazy layer
            the dust in the air
            the atmospheric haze
            the low cloud over the hills
            the steam
        """),
        looks=_lines("""
            swallowed by fog
            clouded by smoke
            whitened by haze
            hazy
            foggy
            misty
            full of fog
            full of smoke
            covered by smog
            hidden behind a layer of mist
            milky from the haze
            veiled by fog
            smoky
            murky with mist
            whitish from the fog
            milky and pale because of the mist
        """),
        goals=_lines("""
            look like a day without fog
            free of haze
            less hazy
            less foggy
            look as if the air were clear
            show the distance without mist
        """),
        stories=_lines("""
            The far shore hides in the fog.
            Everything behind the first house is swallowed by mist.
            The smoke of the barbecue covers my guests.
            The drone flew in the haze and its pictures are pale.
            We hiked through clouds and the peaks are hidden by mist.
            The city lies under a blanket of smog.
            A dust storm blew and the houses disappear in it.
            The air was not clear and distant things are washed out by haze.
            Fumes from the factory hide the river.
            It was a foggy autumn day and the trees are pale shapes.
            The contrast of the distance is lost in the haze.
            The tower is lost in the fog.
            The morning mist made everything white and flat.
            It was a foggy drive and the road fades away.
            The exhaust fumes and smog cover the town.
            The mountains are veiled by haze.
            The view from the plane is hazy.
            I want to see the horizon through the mist.
            The camp fire filled the scene with smoke.
            Volcanic smoke covers the sky and the slope.
            A pale veil reduces visibility in the distance.
            The whole scene is whitish and milky.
            A sandstorm in the desert hides the far dunes.
            Visibility was only a hundred metres.
            The haziness takes all depth from the view.
            A sea of fog covers the valley.
            The skyscrapers are barely visible in the polluted air.
            The sea mist covers the beach.
            I cannot see the far end of the field, it is all white vapour.
            The haziness makes the forest look pale.
            The ships are only grey silhouettes in the mist.
            Smoke from the chimneys drifts across the town.
            The fog was so thick that the far trees disappear.
            We climbed the mountain, but the view was hidden by mist.
            The air was full of smoke from the fires.
            The skyline is lost in smog.
            Everything in the distance fades into a white veil.
            A milky haze lies over the valley.
            It was a humid day and the horizon is hazy.
            There was fog on the road and the cars can hardly be seen.
            The harbour was wrapped in mist when we arrived.
            The air pollution hides the buildings behind a grey veil.
            Clouds of dust in the air hide the hills.
            The island on the horizon is swallowed by the fog.
            The air was so thick that the opposite shore is only a pale shape.
            Vapour rose from the lake and covered the woods.
            Far away objects are whitish because of the haze.
        """),
        orders=_lines("""
            Apply a dehazing network
            Raise the visibility of distant objects in the mist
            Remove the smoke layer and recover the depth
            Model the fog and invert it
            Subtract the atmospheric veil
            Apply the dark channel prior to remove the haze
            Compensate for atmospheric scattering
            Estimate the transmission map and the atmospheric light
            Perform single image dehazing
            Remove the airlight component
            Restore the contrast of distant objects that the haze has reduced
            Correct for the scattering of light by water droplets in the fog
            Increase visibility through the mist
            Reduce aerosol scattering in this aerial view
            Run a defogging algorithm
            Recover scene radiance behind the smog
        """),
        clues=_lines("""
            haze
            hazi
            hazy
            dehaz
            fog
            fogg
            defog
            mist
            smog
            smok
            veil
            vapour
            steam
            dust
            cloud
            atmospher
            airlight
            aerosol
            scatter
            air
            milky
            transmission
        """),
    ),
    "derain": Phrases(
        verbs=(
            "take the rain off",
            "clear the raindrops from",
            "derain",
            "remove the rain from",
            "erase the raindrops in",
            "take the rain streaks off",
            "dry out",
        ),
        defects=_lines("""
            the rain
            the rain streaks
            the raindrops
            the heavy rain
            the drizzle
            the falling drops
            the water drops
            the downpour
            the streaks of water
            the shower
            the rain lines
            the drops on the picture
            the bad rainy weather
        """),
        looks=_lines("""
            soaked with rain
            covered by drops
            all raindrops
            rainy
            full of rain
            covered in rain streaks
            spoiled by the rain
            full of raindrops
            crossed by falling drops
            wet with rain
            hidden behind pouring rain
            streaked by the rain
            ruined by the wet weather
        """),
        goals=_lines("""
            look dry, as if it had not rained
            free of rain
            rainless
            look like there was no rain
            free of water drops
            look as it would on a dry day
        """),
        stories=_lines("""
            Rain came down in buckets.
            The picture is full of thin bright lines from the rain.
            I want to see the street without the rain.
            Water ran down the lens in drops.
            The bride stands in the rain, please dry her off.
            It was spitting with rain and I see every drop.
            The hurricane blew rain across the camera.
            The drops fell between me and the house.
            The weather forecast was wrong and we got rain.
            It is a rainy scene and should be a dry one.
            The sleet and rain leave streaks of water.
            I want the rain gone.
            White streaks of rain hide the people.
            It was raining on the players.
            It rained during the whole concert and the drops are visible.
            The weather was bad and rain fell over the town.
            The storm brought rain and every shot has lines in it.
            Wet streaks run down through the view.
            The autumn rain spoiled our walk and this picture.
            I took it through a wet window full of drops.
            Rainfall covers the street with thin white lines.
            It was bucketing down when I stood there.
            There are drops on the lens.
            The typhoon left lines of water on my footage.
            We had wet weather the whole day and it shows.
            The rain hides the stadium.
            Cats and dogs were falling, as one says of such rain.
            I was in the pouring rain without an umbrella.
            I would prefer a dry day in this picture.
            The cloudburst drew vertical lines of water over everything.
            The windscreen was full of drops.
            Long needles of rain cross the view.
            It started to rain just as I took it.
            There was a heavy downpour during the match.
            The rain fell in long bright streaks across the scene.
            It poured all day and every picture has drops in it.
            We were caught in a thunderstorm and the rain is all over the shot.
            A drizzle covers the whole view with thin lines.
            The drops of water fall right in front of her face.
            It was wet and pouring when I took this in the street.
            Our wedding was in the rain and the streaks hide us.
            The monsoon was at its worst and the streaks of water hide the houses.
            Showers came down in sheets while I was taking pictures.
            I would like it to look as if the day had been dry.
            The storm threw water across the view.
        """),
        orders=_lines("""
            Remove the raindrops on the lens
            Separate rain streaks from texture
            Apply single image rain removal
            Mask the falling drops and fill in the background
            Clean the frame of rainfall
            Remove rain streaks
            Apply deraining
            Decompose the image into background and rain layer
            Detect and inpaint the rain streaks
            Suppress slanted streaks caused by falling rain
            Run a rain removal network
            Remove the precipitation from the frame
            Eliminate raindrops and restore the occluded background
            Filter out the directional streaks of the rainfall
            Estimate the rain map and subtract it
        """),
        clues=_lines("""
            rain
            derain
            drizzle
            drop
            raindrop
            downpour
            shower
            streaks
            streaks of water
            water
            wet
            dry
            pour
            thunderstorm
            storm
            monsoon
            precipitation
        """),
    ),
    "low_light": Phrases(
        verbs=(
            "illuminate",
            "turn on the light in",
            "raise the exposure of",
            "brighten",
            "lighten",
            "light up",
            "brighten up",
            "add light to",
            "increase the brightness of",
        ),
        defects=_lines("""
            the darkness
            the deep shadows
            the underexposure
            the gloom
            the bad lighting
            the black shadows
            the dim light
            the lack of light
        """),
        looks=_lines("""
            as black as night
            hardly visible in the dark
            not bright enough
            way too dim
            dark
            too dark
            underexposed
            far too dark to see anything
            very dim
            almost black
            badly lit
            poorly illuminated
            gloomy and dark
            black in the corners, one sees nothing
            dark because there was no flash
            dark as night
        """),
        goals=_lines("""
            brighter
            lighter
            well lit
            look like daylight
            bright enough to see the faces
            visible, it is all black now
            look as if a lamp had been on
        """),
        stories=_lines("""
            The picture came out nearly black, only a lamp can be seen.
            The nightclub was dark and no face can be recognised.
            The theatre was dark and nothing of the stage is visible.
            The fireplace was our only light.
            The street is black, it was late at night.
            I cannot make out the faces in the dark.
            There is not enough light in the kitchen.
            It was dusk and the light was poor.
            The window is fine but the inside of the room is dark.
            The attic was unlit.
            The camera chose too short an exposure and it is all dark.
            Without the flash the hall is black.
            The party was in a dark cellar and nobody is visible.
            The cinema was dark and my friends cannot be recognised.
            The scene was backlit and the person is a black silhouette.
            Night fell before I took this.
            It was the middle of the night.
            I can barely see anything.
            The bar had so little light that nobody can be recognised.
            The brightness is far too low.
            I need more light in it.
            The club was dark and only outlines can be seen.
            The exposure is much too low.
            The forest at night swallowed all the light.
            Only a torch lit the path.
            It was in a club and nobody can be recognised in the dark.
            Turn night into day.
            There was only moonlight.
            The stage was unlit.
            There was too little light for the camera.
            I cannot see my own face in this, it is so dark.
            The street had no lamps and the cars are invisible.
            The inside of the church came out nearly black.
            It was a winter evening and the light had gone.
            I photographed the stars' light on the hut, but the hut is invisible in the dark.
            We were in a tunnel and it is black.
            The power was out and we had one candle.
            I took this at night without a flash.
            There was hardly any light in the room.
            The people are only black shapes, the place was so dark.
            It was after sunset and one can barely see the faces.
            The lights were off in the hall.
            I forgot to turn on the flash.
            There was only candlelight at the dinner.
            The concert was dark and the band cannot be seen.
            It was midnight and the street lamps were far away.
            The cave was nearly black inside.
            The sun was behind them, so their faces are in deep shadow.
            The exposure was far too short and the picture is nearly black.
            The restaurant was dimly lit.
            It was evening and the garden lies in darkness.
            We sat by the fire in the dark and nobody can be recognised.
            The lamp in the basement was broken, so I see nothing.
        """),
        orders=_lines("""
            Apply a Retinex decomposition to brighten the dark scene
            Apply gamma correction to lighten the picture
            Set the exposure two stops higher
            Enhance the visibility of this dark image
            Raise the luminance of the dark regions
            Increase the exposure by two stops
            Correct the underexposure
            Lift the shadows
            Apply low light enhancement
            Enhance the illumination of this night scene
            Raise the brightness and keep the highlights
            Estimate the illumination map and brighten the frame
            The histogram is too far to the left, increase brightness
            Compensate the missing light of this night shot
            Push the exposure up, the photograph is underexposed
            Relight this dark scene
            Stretch the dark tones, the shadows are blocked
        """),
        clues=_lines("""
            dark
            bright
            light
            lit
            dim
            night
            midnight
            evening
            sunset
            shadow
            black
            gloom
            lamp
            flash
            illumin
            underexpos
            exposure by
            exposure up
            candle
            daylight
            relight
        """),
    ),
    "super_resolution": Phrases(
        verbs=(
            "scale up the size of",
            "raise the resolution of",
            "upscale",
            "enlarge",
            "upsample",
            "increase the resolution of",
            "super-resolve",
            "increase the size of",
        ),
        defects=_lines("""
            the pixelation
            the low resolution
            the big pixels
            the visible pixels
            the jagged pixel edges
            the blocky look of this small file
            the mosaic of big pixels
            the poor resolution
        """),
        looks=_lines("""
            too tiny to print
            only 300 x 200 pixels
            small and blocky
            too small
            low resolution
            low-res
            pixelated
            tiny
            only a thumbnail
            just 200 pixels wide
            not large enough to print
            too small for my screen
            blocky, with visible pixels
        """),
        goals=_lines("""
            bigger
            larger
            twice as large
            four times larger
            high resolution
            HD
            large enough for a poster
            have more pixels
            fit a 4K screen
        """),
        stories=_lines("""
            It is only 480p and I want 1080p.
            I want to make a large canvas print from a small file.
            The face is only 30 pixels high.
            The logo is tiny and must be large.
            The picture is small, I need double the size.
            My slide needs a larger version of it.
            It must be at least 300 dpi.
            The satellite picture has too low a resolution.
            The details are gone because it was scaled down to a small size.
            Zoomed in, there are only square blocks.
            The old phone had 0.3 megapixels, give it the resolution of today.
            I want a full HD version.
            I only have a tiny version of it and need a big one.
            The resolution is not enough for printing.
            I want to print it as large as a door.
            It was taken with a 1 megapixel camera and I want a larger size.
            On my new monitor it looks small and pixelated.
            When I zoom in everything turns into squares of pixels.
            I need at least 2000 pixels in width.
            It is a crop and I want it in full size.
            It came as an icon of 64 by 64 pixels.
            Make it ten times larger without it becoming pixelated.
            My avatar is too small.
            It is only 100 x 100 pixels.
            I want it in 8K.
            It is a low-res screenshot of an old game.
            Somebody saved it as a tiny icon.
            There is not enough resolution to print it on a wall.
            Scale it up by a factor of three.
            It becomes blocky as soon as I make it larger.
            I want to use it as a wallpaper on a large monitor.
            The file that I got by mail was resized to something small.
            It lacks size and clarity, I need more pixels.
            My television is 4K and the picture is not.
            Improve its size and its quality.
            I need it for a large print but the file is tiny.
            It was cropped so far that only a few pixels are left.
            I downloaded a thumbnail and want the full size.
            It looks pixelated on my big screen.
            The resolution of my first digital camera was very low.
            The messenger app shrank it to a tiny size.
            When I enlarge it, I see square pixels.
            We want to print it on a banner and it is too small.
            My webcam only records 320 by 240 pixels.
            It is a small picture from an old website and I want it in HD.
            The zoomed part is made of blocks.
            It has to fill a billboard, but the size is far too small.
            There are not enough pixels to see the detail.
        """),
        orders=_lines("""
            Scale the image by 200 percent
            Produce a 1080p version of this 360p frame
            Quadruple the number of pixels
            Run ESRGAN for a larger image
            Increase the sampling density of the pixels
            Upscale 2x
            Upscale 4x with detail
            Apply super-resolution
            Perform four times super resolution
            Increase the spatial resolution
            Upsample to 3840 by 2160 pixels
            Interpolate to a higher resolution and synthesise detail
            Recover the high resolution image from its downsampled version
            Undo bicubic downscaling
            Double the number of pixels in each direction
            Convert this low resolution image to high resolution
            Raise the dpi for printing at a larger size
        """),
        clues=_lines("""
            resol
            super-resol
            low-res
            pixel
            upscal
            enlarg
            upsampl
            downscal
            downsampl
            bigger
            larger
            large
            small
            tiny
            size
            thumbnail
            hd
            4k
            dpi
            big
            blocks
            blocky
        """),
    ),
    "retouch": Phrases(
        verbs=(
            "saturate the colours of",
            "touch up the tones of",
            "correct the colours of",
            "retouch",
            "color grade",
            "improve the colours of",
            "enhance the colors of",
            "fix the white balance of",
            "make more vivid the colours of",
            "edit like a professional",
        ),
        defects=_lines("""
            the dull colours
            the colour cast
            the faded colors
            the yellow tint
            the flat look of the colours
            the wrong white balance
            the pale colours
            the ugly greenish tone
        """),
        looks=_lines("""
            ugly in its colours
            tinted green
            dull and without saturation
            poor in contrast and colour
            dull in its colours
            pale and lifeless in color
            flat and without contrast
            too blue, the white balance is wrong
            lacking in colour
            washed out in its colours
            faded, the colors are weak
            off in its tones
            boring, the colours do not stand out
            too yellow
            too cold in its tones
            grey and lifeless in its tones
            not saturated enough
        """),
        goals=_lines("""
            more colourful
            more vivid
            more vibrant
            look professionally edited
            look like a picture from a magazine, with good colours
            warmer in tone
            richer in colour
            look like the work of a professional retoucher
            more saturated
        """),
        stories=_lines("""
            The food should look delicious, with rich colours.
            Everything has a green cast from the neon tubes.
            The tones should be like those of an old Kodak film.
            The photo lacks life, the saturation is too low.
            Make the lipstick a deeper red, the colours are pale.
            The sky has no blue in it any more, bring the colours back.
            The skin is too red, correct the tone.
            I want a moody, cinematic colour style.
            It should look like it came from a professional DSLR, with beautiful colours.
            The whole picture has a pink tint.
            My colours do not look like they do in real life.
            The contrast is weak and the tones are flat.
            The tones are boring, give it a nice look.
            The grass is brown and I want it in a fresh green color.
            It looks grey, as if the colours had been taken out of it.
            Make it stylish, with the tones of a film poster.
            I want this to look like a postcard, with a blue sky and vivid colours.
            The whole thing has a blue cast.
            The white shirt looks yellow.
            Give the skin a healthy tone.
            The mood is lifeless, it needs warm colours.
            Edit it as you would for a fashion magazine.
            Apply a nice filter to the colours.
            It needs better contrast and stronger colours.
            It needs a filter like those on Instagram, with stronger colours.
            The grass should be greener and the sky bluer.
            It is too cold, I want warmer tones.
            It looks grey and lifeless in its tones.
            I want it styled for a professional portfolio.
            The mood of the picture is boring, give it a nice artistic style.
            The skin looks purple and should look healthy.
            The food looks unappetising, the colours need life.
            My feed needs punchy colours.
            I want my pictures to have the style of a famous photographer.
            The red dress turned out pink in color.
            Indoor lamps gave it a yellow tint.
            It looks flat, enhance it artistically.
            Enhance it like an influencer would.
            The colours in reality were much stronger than here.
            The flowers look pale, they were bright red in color.
            Everyone looks green because of the white balance.
            I want the colors to pop on social media.
            The tones are flat, and it lacks contrast.
            My colours are off and I want a professional look.
            I would love the style of a professional photographer's edit.
            The skin tones look unnatural.
            The autumn leaves have lost their colours.
            It has an ugly orange tint.
            The sunset was far more colourful when I stood there.
            I want to post it, give it beautiful tones and contrast.
            The blue of the sea has turned into a dull grey, the saturation is missing.
            It came straight out of the camera and needs a good colour edit.
        """),
        orders=_lines("""
            Apply a colour lookup table for a film look
            Increase the colour contrast and the warmth
            Balance the skin tones
            Match the colours to a professional edit
            Adjust hue, saturation and tint
            Increase saturation and vibrance
            Correct the white balance
            Remove the colour cast
            Apply a global tone curve and colour grading
            Adjust the tones as an expert retoucher
            Boost contrast and color
            Grade this image like an expert of the FiveK dataset
            Improve the tonal range and the hue
            Apply photo retouching
            Shift the colour temperature to a warmer white balance
            Do a professional colour correction
            Make it aesthetically pleasing with better tones and colours
        """),
        clues=_lines("""
            retouch
            colour
            color
            colourful
            vivid
            vibran
            saturat
            tint
            tone
            tonal
            hue
            white balance
            contrast
            professional
            edit
            edited
            grade
            yellow
        """),
    ),
}

#: What says nothing about the task. The last six are all that some people say: alone, they are ambiguous.
ASIDES = _lines("""
    I took it on holiday.
    It is for my grandmother's album.
    It shows my children.
    I like this picture very much.
    It is the only one I have of him.
    Keep the rest as it is.
    Please do not change anything else.
    I took it with my old phone.
    My boss needs it tomorrow.
    Do not lose the details.
    It looks bad.
    Make it better.
    Fix it.
    Clean it up.
    Something is wrong with it.
    It could be clearer.
""")
